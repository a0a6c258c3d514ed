//! Makes an int8 checkpoint of one in floats: symmetric, with one scale for each output
//! of a matrix. The encoder's matrices and the word embedding become a quarter; norms and
//! the head stay as they are, and so do biases unless weights are rounded for text.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::floats::floats;
use super::folder::Target;
use super::rounding::{Gradients, Rounded, nearest};
use super::{
    CONFIG, Checkpoint, CheckpointError, TOKENIZER, TOKENIZER_CONFIG, WEIGHT_BYTES_MAX, WEIGHTS,
    read_bounded,
};

/// How the name of the word embeddings ends.
const WORDS: &str = "word_embeddings.weight";

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quantised {
    pub dir: PathBuf,
    /// Matrices that are int8 now.
    pub matrices: usize,
    pub bytes_before: u64,
    pub bytes_after: u64,
    /// The folder was there, with this very content.
    pub already_there: bool,
}

/// What gradients scores of some text have with respect to a model's matrices.
pub struct ModelGradients {
    /// The word embeddings, as rows that a linear layer's outputs are.
    pub words: Gradients,
    pub layers: Vec<LayerGradients>,
}

/// Those of one layer's.
pub struct LayerGradients {
    pub query: Gradients,
    pub key: Gradients,
    pub value: Gradients,
    pub attended: Gradients,
    pub wide: Gradients,
    pub narrow: Gradients,
}

impl LayerGradients {
    /// With the names of the parts.
    fn each(&self) -> [(&Gradients, &'static str); 6] {
        [
            (&self.query, "attention.self.query"),
            (&self.key, "attention.self.key"),
            (&self.value, "attention.self.value"),
            (&self.attended, "attention.output.dense"),
            (&self.wide, "intermediate.dense"),
            (&self.narrow, "output.dense"),
        ]
    }
}

/// A checkpoint on its way.
pub struct Quantiser<'a> {
    checkpoint: &'a Checkpoint,
    tensors: BTreeMap<String, Stored>,
    matrices: usize,
    bytes_before: u64,
}

struct Stored {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl<'a> Quantiser<'a> {
    pub fn read(checkpoint: &'a Checkpoint) -> Result<Self, CheckpointError> {
        let (mut tensors, mut bytes_before) = (BTreeMap::new(), 0);
        for path in &checkpoint.weights {
            let bytes = read_bounded(path, WEIGHT_BYTES_MAX)?;
            bytes_before += bytes.len() as u64;
            let file = SafeTensors::deserialize(&bytes)
                .map_err(|error| CheckpointError::broken(path, error))?;
            for (name, tensor) in file.iter() {
                let (dtype, shape) = (tensor.dtype(), tensor.shape().to_vec());
                let bytes = tensor.data().to_vec();
                tensors.insert(name.to_owned(), Stored { dtype, shape, bytes });
            }
        }
        let quantiser = Quantiser { checkpoint, tensors, matrices: 0, bytes_before };
        if quantiser.tensors.iter().all(|(name, tensor)| !is_due(name, tensor)) {
            return Err(CheckpointError::broken(
                &checkpoint.dir,
                "it has no matrices in floats; is it int8 already?",
            ));
        }
        for (name, tensor) in &quantiser.tensors {
            let values = tensor.floats().unwrap_or_default();
            if let Some(value) = values.iter().find(|value| !value.is_finite()) {
                let reason = format!("`{name}` holds {value}");
                return Err(CheckpointError::broken(&checkpoint.dir, reason));
            }
        }
        Ok(quantiser)
    }

    /// Rounds what has these gradients, so that scores change least. `done` is told how many
    /// matrices were rounded, and of how many.
    pub fn round(&mut self, gradients: &ModelGradients, done: impl Fn(usize, usize)) {
        let mut due = vec![(WORDS.to_owned(), &gradients.words)];
        for (layer, gradients) in gradients.layers.iter().enumerate() {
            let name = |part| format!("encoder.layer.{layer}.{part}.weight");
            due.extend(gradients.each().map(|(gradients, part)| (name(part), gradients)));
        }
        for (number, (name, gradients)) in due.iter().enumerate() {
            self.matrix(name, gradients);
            done(number + 1, due.len());
        }
    }

    /// Rounds the matrix whose name ends so, if it is due, and has its bias make up for what
    /// it can.
    fn matrix(&mut self, ending: &str, gradients: &Gradients) {
        let due =
            |(name, tensor): &(&String, &Stored)| name.ends_with(ending) && is_due(name, tensor);
        let found = self.tensors.iter().find(due);
        let Some((name, matrix)) =
            found.and_then(|(name, tensor)| Some((name.clone(), tensor.floats()?)))
        else {
            return;
        };
        let Rounded { values, scales, biases } = gradients.rounding().round(&matrix);
        self.store(&name, &values, &scales);
        let bias = self.tensors.get_mut(&name.replace(".weight", ".bias"));
        if let Some(bias) = bias
            && let Some(before) = bias.floats()
        {
            let after: Vec<f32> = before.iter().zip(biases).map(|(a, b)| a + b).collect();
            *bias = Stored::of_floats(bias.shape.clone(), &after);
        }
    }

    /// Writes the folder `out`, with the nearest integers in what was not rounded yet.
    pub fn write(mut self, out: &Path) -> Result<Quantised, CheckpointError> {
        let due = |(name, tensor): (&String, &Stored)| is_due(name, tensor).then(|| name.clone());
        for name in self.tensors.iter().filter_map(due).collect::<Vec<_>>() {
            let tensor = &self.tensors[&name];
            if let Some(matrix) = tensor.floats() {
                let (values, scales) = nearest(&matrix, tensor.shape[1]);
                self.store(&name, &values, &scales);
            }
        }
        let views = self.tensors.iter().map(|(name, Stored { dtype, shape, bytes })| {
            let view = TensorView::new(*dtype, shape.clone(), bytes);
            (name, view.expect("a tensor has as many bytes as its shape says"))
        });
        let weights = safetensors::serialize(views, None)
            .map_err(|error| CheckpointError::broken(&self.checkpoint.dir, error))?;

        let target = Target::new(out)?;
        for name in [CONFIG, TOKENIZER, TOKENIZER_CONFIG] {
            let file = self.checkpoint.dir.join(name);
            if file.is_file() {
                target.copy(&file, name)?;
            }
        }
        target.write(WEIGHTS, &weights)?;
        Ok(Quantised {
            already_there: target.finish()?,
            dir: out.to_owned(),
            matrices: self.matrices,
            bytes_before: self.bytes_before,
            bytes_after: weights.len() as u64,
        })
    }

    /// In place of the matrix of that name.
    fn store(&mut self, name: &str, values: &[i8], scales: &[f32]) {
        let scales = Stored::of_floats(vec![scales.len()], scales);
        self.tensors.insert(format!("{name}_scale"), scales);
        if let Some(tensor) = self.tensors.get_mut(name) {
            tensor.dtype = Dtype::I8;
            tensor.bytes = values.iter().map(|value| *value as u8).collect();
            self.matrices += 1;
        }
    }
}

impl Stored {
    fn of_floats(shape: Vec<usize>, values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Stored { dtype: Dtype::F32, shape, bytes }
    }

    /// The numbers of a tensor in floats.
    fn floats(&self) -> Option<Vec<f32>> {
        floats(self.dtype, &self.bytes)
    }
}

/// Whether it is a matrix that becomes int8, and is not yet.
fn is_due(name: &str, tensor: &Stored) -> bool {
    let layers = name.contains("encoder.layer.") && name.ends_with(".weight");
    let floats = matches!(tensor.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16);
    let matrix = matches!(tensor.shape[..], [_, width] if width > 0);
    floats && matrix && (layers || name.ends_with(WORDS))
}
