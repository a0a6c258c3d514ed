use prost::Message;

use super::super::Checkpoint;
use super::super::onnx::{Graph, INT64, Node};
use super::*;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures");

fn tiny() -> PathBuf {
    Path::new(FIXTURES).join("tiny-quantised.onnx")
}

fn tokenizer() -> PathBuf {
    Path::new(FIXTURES).join("tiny-bert").join(TOKENIZER)
}

#[test]
fn a_quantised_file_becomes_a_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("tiny");
    let imported = import(&tiny(), Some(&tokenizer()), None, &out).unwrap();
    assert_eq!((imported.layers_found, imported.layers_kept), (3, 3));
    assert!(!imported.already_there);
    let imported = Checkpoint::open("tiny", &out).unwrap();
    let mut original = Checkpoint::open("tiny", &Path::new(FIXTURES).join("tiny-bert")).unwrap();
    original.config.note = None;
    assert_eq!(imported.config, original.config);
    assert_eq!(imported.warning, None);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing temporary is left");
}

#[test]
fn a_folder_is_replaced_by_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("tiny");
    let again = || import(&tiny(), Some(&tokenizer()), None, &out);
    again().unwrap();
    assert!(again().unwrap().already_there);
    std::fs::write(out.join("README.md"), "mine").unwrap();
    assert!(matches!(again(), Err(CheckpointError::Exists { .. })));
    assert!(out.join("README.md").is_file());
}

#[test]
fn fewer_layers_come_with_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("tiny");
    let imported = import(&tiny(), Some(&tokenizer()), Some(2), &out).unwrap();
    assert_eq!((imported.layers_found, imported.layers_kept), (3, 2));
    let checkpoint = Checkpoint::open("tiny", &out).unwrap();
    assert_eq!(checkpoint.config.layers, 2);
    let warning = checkpoint.warning.unwrap();
    assert!(warning.contains("scores mean nothing"), "{warning}");
    for layers in [0, 4] {
        let error = import(&tiny(), Some(&tokenizer()), Some(layers), &out).unwrap_err();
        assert!(error.to_string().contains("has 3 layers"), "{error}");
    }
}

/// Imports the tiny file after a change, and expects a refusal.
fn refusal(change: impl FnOnce(&mut Graph)) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = Bytes::from(std::fs::read(tiny()).unwrap());
    let mut graph = onnx::decode(file).unwrap();
    change(&mut graph);
    let path = dir.path().join("model.onnx");
    let model = onnx::Model { graph: Some(graph) };
    std::fs::write(&path, model.encode_to_vec()).unwrap();
    import(&path, Some(&tokenizer()), None, &dir.path().join("out")).unwrap_err().to_string()
}

fn node<'a>(graph: &'a mut Graph, op: &str) -> &'a mut Node {
    graph.nodes.iter_mut().find(|node| node.op == op).unwrap()
}

fn initializer<'a>(graph: &'a mut Graph, name: &str) -> &'a mut onnx::Tensor {
    let mut all = graph.initializers.iter_mut();
    all.find(|tensor| tensor.name.starts_with(name)).unwrap()
}

#[test]
fn whatever_is_no_bert_is_refused_by_name() {
    const BIAS: &str = "bert.encoder.layer.1.output.dense.bias";
    const TABLE: &str = "bert.embeddings.position_embeddings.weight_quantized";
    for (expected, change) in [
        ("operator `Conv", (|g| node(g, "Tanh").op = "Conv".into()) as fn(&mut Graph)),
        ("operator domain `com.example (Tanh)`", |g| {
            node(g, "Tanh").domain = "com.example".into();
        }),
        ("no Tanh alone after", |g| node(g, "Tanh").op = "Relu".into()),
        ("activation of `Add, Div, Mul, Sqrt`", |g| {
            for node in g.nodes.iter_mut().filter(|node| node.op == "Erf") {
                node.op = "Sqrt".into();
            }
        }),
        ("external data of initialiser", |g| g.initializers[0].location = 1),
        ("expected [48]", |g| {
            let bias = initializer(g, BIAS);
            bias.raw = bias.raw.slice(4..);
            bias.dims = vec![47];
        }),
        ("has 188 bytes of values", |g| {
            let bias = initializer(g, BIAS);
            bias.raw = bias.raw.slice(4..);
        }),
        ("has shape [-1]", |g| initializer(g, BIAS).dims = vec![-1]),
        ("has shape [4611686018427387904, 8]", |g| {
            initializer(g, TABLE).dims = vec![1 << 62, 8];
        }),
        ("no bias of", |g| initializer(g, BIAS).name = "else".into()),
        ("TensorProto.DataType 7", |g| initializer(g, TABLE).kind = INT64),
        ("no single output", |g| g.outputs.clear()),
        ("weights are not quantised", |g| {
            g.nodes.retain(|node| node.op != "MatMulInteger");
        }),
        ("quantisation per channel of", |g| {
            let scale = initializer(g, "bert.embeddings.word_embeddings.weight_scale");
            scale.dims = vec![2];
            scale.floats = vec![1.0, 1.0];
        }),
        ("no Gather of `bert.embeddings.word", |g| {
            g.nodes.retain(|node| node.op != "Gather");
        }),
        ("float weight of", |g| {
            let weight = g.initializers.iter().find(|t| t.dims.len() == 2).unwrap();
            let weight = weight.name.clone();
            node(g, "MatMul").inputs[1] = weight;
        }),
        ("no layer norm", |g| {
            for node in g.nodes.iter_mut().filter(|node| node.op == "ReduceMean") {
                node.op = "Sqrt".into();
            }
        }),
        ("no Reshape of the query", |g| {
            g.nodes.retain(|node| node.op != "Reshape");
        }),
    ] {
        let error = refusal(change);
        assert!(error.contains(expected), "expected {expected}: {error}");
    }
}

#[test]
fn a_file_that_is_cut_off_or_garbled_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.onnx");
    let whole = std::fs::read(tiny()).unwrap();
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let attempt = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let out = dir.path().join("out");
        let result = import(&path, Some(&tokenizer()), None, &out);
        let _ = std::fs::remove_dir_all(out);
        result
    };
    // The outermost message is the graph: every proper prefix is cut off in it,
    // but for a few bytes at the end (the opset), which nothing needs.
    let ends = whole.len() - 64;
    let prefixes = (0..300).chain((300..ends).step_by(997));
    for length in prefixes {
        assert!(attempt(&whole[..length]).is_err(), "{length} bytes");
    }
    for _ in 0..300 {
        let mut bytes = whole.clone();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(..);
        }
        // Most hit a weight and change nothing that could be noticed.
        let _: Result<_, _> = attempt(&bytes);
    }
    for _ in 0..300 {
        let bytes: Vec<u8> = (0..random.usize(..200)).map(|_| random.u8(..)).collect();
        assert!(attempt(&bytes).is_err(), "seed {seed}: {bytes:?}");
    }
}

#[test]
fn structure_is_bounded_before_it_is_decoded() {
    // 9 million empty nodes: 18 MB that would decode to over a gigabyte.
    let nodes = [0x0a, 0x00].repeat(9 << 20);
    let mut file = vec![0x3a];
    prost::encoding::encode_varint(nodes.len() as u64, &mut file);
    file.extend(nodes);
    let error = onnx::decode(file.into()).unwrap_err();
    assert!(error.contains("over the limit of 16777216"), "{error}");
}

#[test]
fn the_tokenizer_is_looked_for_beside_the_model() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.onnx");
    std::fs::copy(tiny(), &path).unwrap();
    let out = dir.path().join("out");
    let error = import(&path, None, None, &out).unwrap_err();
    assert!(error.to_string().contains("has no tokenizer.json"), "{error}");
    std::fs::copy(tokenizer(), dir.path().join(TOKENIZER)).unwrap();
    import(&path, None, None, &out).unwrap();
    let config = std::fs::read_to_string(out.join(CONFIG)).unwrap();
    assert!(config.contains("\"source\": \"model.onnx\""), "{config}");
}
