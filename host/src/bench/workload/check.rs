//! From TOML to a workload. Every fault is told at once.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::{Table, Value};

use super::{
    Access, CorpusSettings, Dialect, Extent, Load, Order, Place, RequestSettings, RunsSettings,
    Stage, TargetSettings, TextSource, VerifySettings, WindowSettings, Workload,
};
use crate::bench::fields::Fields;
use crate::config::Faults;

const HOUR_MS: u64 = 3_600_000;

impl Workload {
    /// Checks a table in which nothing is left to sweep. Paths in it are
    /// relative to `folder`.
    pub fn check(table: &Table, file: &Path, folder: &Path) -> Result<Workload, Faults> {
        let faults = RefCell::default();
        let root = Fields::of(table, &faults);
        let stage = root.one_of(
            "stage",
            &[
                ("whole", Stage::Whole),
                ("tokenize-only", Stage::TokenizeOnly),
                ("inference-only", Stage::InferenceOnly),
                ("policy-only", Stage::PolicyOnly),
            ],
        );
        let name = file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let workload = Workload {
            title: root.text("title").or(name).unwrap_or_default(),
            about: root.text("about").unwrap_or_default(),
            folder: folder.into(),
            seed: root.whole("seed", 1, 0..=u64::from(u32::MAX), "as a seed"),
            stage,
            target: target(root.table("target"), stage, folder),
            request: request(root.table("request"), stage),
            load: load(root.table("load")),
            window: window(root.table("window")),
            corpus: corpus(root.table("corpus"), folder),
            runs: runs(root.table("runs")),
            verify: verify(root.table("verify"), stage, folder),
            errors_max: root.number("errors_max", 0.0, 0.0..=1.0, "of all requests"),
        };
        root.finish();
        let faults = faults.into_inner();
        if faults.is_empty() {
            Ok(workload)
        } else {
            Err(Faults { file: Some(file.into()), faults })
        }
    }
}

fn target(target: Fields<'_>, stage: Stage, folder: &Path) -> TargetSettings {
    let place = match target.text("url") {
        Some(base) => {
            if stage != Stage::Whole {
                target.fault("`target.url` has no effect on a stage alone, which runs here".into());
            }
            target.idle("config", "on a server at `target.url`");
            target.idle("settings", "on a server at `target.url`");
            target.idle("processes", "on a server at `target.url`");
            let metrics = target.text("metrics");
            for (key, url) in [("url", Some(&base)), ("metrics", metrics.as_ref())] {
                if let Some(url) = url
                    && !["http://", "https://"].iter().any(|scheme| url.starts_with(scheme))
                {
                    let key = target.key(key);
                    target.fault(format!(
                        "`{key}` is \"{url}\"; it must begin with http:// or https://"
                    ));
                }
            }
            if ![Some(&base), metrics.as_ref()]
                .iter()
                .flatten()
                .any(|url| url.starts_with("https://"))
            {
                target.idle("ca_file", "without an https:// URL");
            }
            Place::Url { base: base.trim_end_matches('/').to_owned(), metrics }
        }
        None => {
            target.idle("metrics", "on a server that is started here, which is asked anyway");
            target.idle("ca_file", "on a server that is started here, which speaks plain HTTP");
            if stage != Stage::Whole {
                target.idle("processes", "on a stage alone, which runs in this one");
            }
            let processes = target.whole("processes", 1, 1..=64, "processes") as usize;
            let config = target.text("config").map(|path| folder.join(path));
            let settings = match target.value("settings") {
                Some(Value::Table(settings)) => settings.clone(),
                Some(_) => {
                    target.fault("`target.settings` must be a table: it is a maitred.toml".into());
                    Table::new()
                }
                None => Table::new(),
            };
            Place::Started { config, settings, processes }
        }
    };
    let models = target.texts("models");
    if !models.is_empty() && matches!(place, Place::Url { .. }) {
        target.fault("`target.models` has no effect on a server at `target.url`".into());
    }
    let settings = TargetSettings {
        place,
        models,
        access: Access {
            key_env: target.text("key_env"),
            ca_file: target.text("ca_file").map(|path| folder.join(path)),
        },
        ready_ms_max: target.ms("ready_ms_max", 120_000, 100..=HOUR_MS),
    };
    target.finish();
    settings
}

fn request(request: Fields<'_>, stage: Stage) -> RequestSettings {
    if stage != Stage::Whole {
        request.idle("dialect", "on a stage alone");
        request.idle("model", "on a stage alone");
        request.idle("traced_share", "on a stage alone");
    }
    let settings = RequestSettings {
        dialect: request.one_of(
            "dialect",
            &[
                ("tei", Dialect::Tei),
                ("cohere", Dialect::Cohere),
                ("jina", Dialect::Jina),
                ("voyage", Dialect::Voyage),
                ("vllm", Dialect::Vllm),
                ("infinity", Dialect::Infinity),
            ],
        ),
        route: request.text("route"),
        model: request.text("model"),
        documents: request.whole("documents", 32, 1..=10_000, "documents") as usize,
        traced_share: request.number("traced_share", 0.0, 0.0..=1.0, "of the requests"),
        timeout_ms: request.ms("timeout_ms", 30_000, 1..=HOUR_MS),
    };
    request.finish();
    settings
}

fn load(load: Fields<'_>) -> Load {
    #[derive(Clone, Copy, PartialEq)]
    enum Kind {
        Closed,
        Fixed,
        Poisson,
    }
    let kind = load.one_of(
        "kind",
        &[("closed", Kind::Closed), ("fixed", Kind::Fixed), ("poisson", Kind::Poisson)],
    );
    let settings = if kind == Kind::Closed {
        let reason = "on a closed loop, where clients wait for their answers";
        load.idle("requests_per_second", reason);
        load.idle("in_flight_max", reason);
        Load::Closed { clients: load.whole("clients", 1, 1..=10_000, "clients") as usize }
    } else {
        load.idle("clients", "on an open loop, where nobody waits");
        let unit = "requests a second";
        let per_second = load.number_if("requests_per_second", 0.001..=100_000.0, unit);
        if !load.has("requests_per_second") {
            load.fault("`load.requests_per_second` is missing: an open loop needs a rate".into());
        }
        let per_second = per_second.unwrap_or(1.0);
        let in_flight_max = load.whole("in_flight_max", 1024, 1..=100_000, "requests") as usize;
        match kind {
            Kind::Fixed => Load::Fixed { per_second, in_flight_max },
            _ => Load::Poisson { per_second, in_flight_max },
        }
    };
    load.finish();
    settings
}

fn window(window: Fields<'_>) -> WindowSettings {
    let extent = match window.whole_if("requests", 1..=100_000_000, "requests") {
        Some(requests) => {
            window.idle("seconds", "beside `window.requests`");
            Extent::Requests(requests)
        }
        None => {
            let seconds = window.number("seconds", 10.0, 0.1..=86_400.0, "s");
            Extent::Time(Duration::from_secs_f64(seconds))
        }
    };
    let warmup = window.number("warmup_seconds", 2.0, 0.0..=3600.0, "s");
    let settings = WindowSettings {
        warmup_ms: Duration::from_secs_f64(warmup),
        extent,
        interval_ms: window.ms("interval_ms", 1000, 100..=HOUR_MS),
    };
    window.finish();
    settings
}

fn corpus(corpus: Fields<'_>, folder: &Path) -> CorpusSettings {
    #[derive(Clone, Copy, PartialEq)]
    enum Kind {
        Generated,
        EqualLength,
        Lines,
        Beir,
        Trec,
    }
    let kind = corpus.one_of(
        "source",
        &[
            ("generated", Kind::Generated),
            ("equal-length", Kind::EqualLength),
            ("jsonl", Kind::Lines),
            ("beir", Kind::Beir),
            ("trec", Kind::Trec),
        ],
    );
    let path = |key: &'static str| match corpus.text(key) {
        Some(path) => folder.join(path),
        None => {
            corpus.fault(format!("`corpus.{key}` is missing: this source needs it"));
            PathBuf::new()
        }
    };
    if matches!(kind, Kind::Generated | Kind::EqualLength) {
        corpus.idle("path", "on text that is made here");
    }
    if kind != Kind::Lines {
        corpus.idle("queries", "unless `corpus.source` is \"jsonl\"");
    }
    if kind != Kind::EqualLength {
        corpus.idle("words", "unless `corpus.source` is \"equal-length\"");
    }
    let settings = CorpusSettings {
        source: match kind {
            Kind::Generated => TextSource::Generated,
            Kind::EqualLength => TextSource::EqualLength {
                words: corpus.whole("words", 60, 1..=10_000, "words") as usize,
            },
            Kind::Lines => TextSource::Lines { passages: path("path"), queries: path("queries") },
            Kind::Beir => TextSource::Beir(path("path")),
            Kind::Trec => TextSource::Trec(path("path")),
        },
        passages: corpus.whole("passages", 2048, 1..=10_000_000, "passages") as usize,
    };
    corpus.finish();
    settings
}

fn runs(runs: Fields<'_>) -> RunsSettings {
    let settings = RunsSettings {
        repeats: runs.whole("repeats", 1, 1..=1000, "windows of each variant") as usize,
        order: runs
            .one_of("order", &[("interleaved", Order::Interleaved), ("in-turn", Order::InTurn)]),
        servers_max: runs.whole("servers_max", 4, 1..=64, "servers") as usize,
    };
    runs.finish();
    settings
}

fn verify(verify: Fields<'_>, stage: Stage, folder: &Path) -> Option<VerifySettings> {
    let computes = matches!(stage, Stage::Whole | Stage::InferenceOnly);
    if !computes {
        verify.idle("samples", "on a stage that computes no scores");
    }
    let samples = verify.texts("samples");
    if samples.is_empty() {
        verify.idle("tolerance", "without `verify.samples`");
        verify.idle("required", "without `verify.samples`");
    }
    let required = verify.truth("required", true);
    let tolerance = verify.number("tolerance", 0.01, 0.0..=100.0, "of a logit");
    verify.finish();
    let samples: Vec<_> = samples.iter().map(|sample| folder.join(sample)).collect();
    (!samples.is_empty()).then_some(VerifySettings { samples, required, tolerance })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<Workload, Vec<String>> {
        let (file, folder) = (Path::new("some/sweep.toml"), Path::new("/w"));
        Workload::check(&text.parse().unwrap(), file, folder).map_err(|faults| faults.faults)
    }

    #[test]
    fn an_empty_workload_is_the_default_one() {
        let workload = check("").unwrap();
        assert_eq!(workload.title, "sweep");
        assert_eq!(workload.load, Load::Closed { clients: 1 });
        assert_eq!(workload.window.extent, Extent::Time(Duration::from_secs(10)));
        assert!(matches!(workload.target.place, Place::Started { config: None, .. }));
    }

    #[test]
    fn everything_wrong_is_told_at_once() {
        let faults = |text: &str, expected: &[&str]| {
            assert_eq!(check(text).unwrap_err(), expected, "{text}");
        };
        faults(
            "sed = 1\n[load]\nclient = 3\n[window]\nseconds = '5'\nrequests = 0",
            &[
                "unknown key `load.client`; did you mean `load.clients`?",
                "`window.requests` is 0; it must be 1 to 100000000 requests",
                "`window.seconds` is \"5\"; it must be 0.1 to 86400 s",
                "unknown key `sed`; did you mean `seed`?",
            ],
        );
        faults(
            "[load]\nkind = 'poisson'\nclients = 2",
            &[
                "`load.clients` has no effect on an open loop, where nobody waits",
                "`load.requests_per_second` is missing: an open loop needs a rate",
            ],
        );
        faults(
            "[load]\nkind = 'open'",
            &["`load.kind` is \"open\"; it must be one of \"closed\", \"fixed\", \"poisson\""],
        );
        faults(
            "[target]\nurl = 'ftp://x'\nsettings = {}\n[verify]\ntolerance = 0.5",
            &[
                "`target.settings` has no effect on a server at `target.url`",
                "`target.url` is \"ftp://x\"; it must begin with http:// or https://",
                "`verify.tolerance` has no effect without `verify.samples`",
            ],
        );
        faults(
            "[corpus]\nsource = 'jsonl'\npath = 'p.jsonl'\nwords = 5",
            &[
                "`corpus.words` has no effect unless `corpus.source` is \"equal-length\"",
                "`corpus.queries` is missing: this source needs it",
            ],
        );
        faults(
            "[target]\nurl = 'http://x'\nprocesses = 2\nca_file = 'ca.pem'",
            &[
                "`target.processes` has no effect on a server at `target.url`",
                "`target.ca_file` has no effect without an https:// URL",
            ],
        );
        faults(
            "stage = 'tokenize-only'\n[request]\ndialect = 'tei'",
            &["`request.dialect` has no effect on a stage alone"],
        );
        faults(
            "[request]\ntraced_share = 2",
            &["`request.traced_share` is 2; it must be 0 to 1 of the requests"],
        );
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let workload = check("[corpus]\nsource = 'beir'\npath = 'scifact'").unwrap();
        assert_eq!(workload.corpus.source, TextSource::Beir("/w/scifact".into()));
        let workload = check("[verify]\nsamples = ['scores.jsonl']").unwrap();
        assert_eq!(workload.verify.unwrap().samples, [Path::new("/w/scores.jsonl")]);
    }
}
