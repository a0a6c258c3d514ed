//! `maitred rerank`: ranks documents here, through a route's policies if asked,
//! without a server.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::{Args, value_parser};
use serde::Serialize;

use super::documents;
use super::settings::SettingsArguments;
use crate::checkpoint::Hub;
use crate::rerank::{Lengths, Priority};
use crate::route::{Answer, Ask, AskedDocument, Scored, Scores};
use crate::server::Stack;
use crate::telemetry::Trace;

#[derive(Debug, Args)]
pub struct RerankArguments {
    #[command(flatten)]
    settings: SettingsArguments,
    /// What the documents are ranked by.
    #[arg(short, long)]
    query: String,
    /// Route whose policies stand in front of the model; the plain model of the
    /// default route if absent.
    #[arg(short, long, conflicts_with = "policies")]
    route: Option<String>,
    /// File of documents, one a line; `.jsonl` for objects with `text` and
    /// fields; `-` for lines of text from standard input, which is read if no document is
    /// given.
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Results to print; all if absent.
    #[arg(short = 'n', long, allow_negative_numbers = true, value_parser = value_parser!(u32).range(1..))]
    top_n: Option<u32>,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Print the model's raw logits instead of scores between 0 and 1, or what policies
    /// made of them.
    #[arg(long)]
    raw_scores: bool,
    /// The documents themselves.
    documents: Vec<String>,
}

pub async fn run(arguments: RerankArguments) -> anyhow::Result<()> {
    let asked = asked_documents(&arguments)?;
    let chain = arguments.route.is_some() || !arguments.settings.policies.is_empty();
    let (_, mut settings) = arguments.settings.settings()?;
    let name = match &arguments.route {
        Some(name) => name.as_str().into(),
        None => settings.default_route.clone(),
    };
    let Some(mut route) = settings.routes.get(&name).cloned() else {
        let known: Vec<_> = settings.routes.keys().map(|name| format!("`{name}`")).collect();
        bail!("no route is named `{name}`; there are {}", known.join(", "));
    };
    if !chain {
        route.policies.clear();
    }
    // Only what this request needs is loaded.
    settings.models.retain(|model, _| *model == route.model);
    settings.default_route = name.clone();
    settings.routes = [(name, route)].into();
    // Nobody else waits, so a large file is no reason to refuse.
    settings.server.documents_max = usize::MAX;
    settings.server.request_ms_max = Duration::from_secs(24 * 3600);
    for model in settings.models.values_mut() {
        model.batch.queue_pairs_max = u64::MAX;
        model.batch.queue_tokens_max = u64::MAX;
    }
    let stack = Stack::start(&settings, &Hub::from_env()).await?;
    let ask = Ask {
        query: arguments.query.as_str().into(),
        documents: asked.clone(),
        top_n: arguments.top_n,
        scores: if arguments.raw_scores { Scores::Logit } else { Scores::Probability },
        timeout: None,
        priority: Priority::Normal,
        truncate: None,
        lengths: Lengths::default(),
        filtered: None,
        request_id: "rerank".into(),
        caller: None,
        trace: Trace::default(),
        report: std::sync::Arc::default(),
    };
    let route = stack.routes().default_route();
    let policies = route.policies.clone();
    let answer = route.rerank(ask).await;
    stack.stop().await;
    let answer = answer?;
    if arguments.json {
        print_json(&answer, &asked)?;
    } else {
        print_table(&answer, &asked);
    }
    for caveat in caveats(&answer, &policies, arguments.raw_scores) {
        eprintln!("maitred: {caveat}");
    }
    Ok(())
}

fn asked_documents(arguments: &RerankArguments) -> anyhow::Result<Vec<AskedDocument>> {
    let mut asked: Vec<_> =
        arguments.documents.iter().map(|text| documents::of_text(text)).collect();
    match &arguments.file {
        Some(file) => asked.extend(documents::read(file)?),
        None if asked.is_empty() => asked = documents::read("-".as_ref())?,
        None => {}
    }
    if asked.is_empty() {
        bail!("there are no documents: give them as arguments, with --file or on standard input");
    }
    Ok(asked)
}

/// What is printed as JSON: scores with as many digits as tell them apart, which is
/// what HTTP answers.
#[derive(Debug, Serialize)]
struct Printed<'a> {
    model: &'a str,
    results: Vec<PrintedResult<'a>>,
    route: &'a str,
    /// Documents that a policy left out.
    filtered: usize,
    /// A policy failed, and the plain model answered instead.
    bypassed: bool,
    /// The scores are ranks.
    order_only: bool,
}

#[derive(Debug, Serialize)]
struct PrintedResult<'a> {
    index: u32,
    score: f32,
    text: &'a str,
}

fn print_json(answer: &Answer, asked: &[AskedDocument]) -> anyhow::Result<()> {
    let result = |&Scored { index, score }: &Scored| PrintedResult {
        index,
        score,
        text: &asked[index as usize].text,
    };
    let printed = Printed {
        model: &answer.model,
        results: answer.results.iter().map(result).collect(),
        route: &answer.route,
        filtered: answer.filtered,
        bypassed: answer.report.bypassed(),
        order_only: answer.order_only,
    };
    println!("{}", serde_json::to_string_pretty(&printed)?);
    Ok(())
}

/// What HTTP says in headers of an answer: that it is not what one may take it for.
fn caveats(answer: &Answer, policies: &[String], raw_scores: bool) -> Vec<String> {
    let report = &answer.report;
    let truncated = report.pairs_truncated();
    let mut caveats = Vec::new();
    if truncated > 0 {
        let pairs = report.pairs();
        caveats.push(format!("{truncated} of {pairs} pairs lost tokens to the model's limit"));
    }
    if report.bypassed() {
        caveats.push("a policy failed and was bypassed: this is the plain model's ranking".into());
    }
    if answer.order_only {
        caveats.push("only the order means something: the scores are ranks".into());
    } else if raw_scores && !policies.is_empty() && !report.bypassed() {
        let policies = policies.join(", ");
        caveats.push(format!("the scores are what {policies} made of the model's logits"));
    }
    caveats
}

fn print_table(answer: &Answer, asked: &[AskedDocument]) {
    println!("{:>4}  {:>8}  {:>5}  document", "rank", "score", "index");
    for (rank, result) in answer.results.iter().enumerate() {
        let text = one_line(&asked[result.index as usize].text);
        println!("{:>4}  {:>8.4}  {:>5}  {text}", rank + 1, result.score, result.index);
    }
    let (pairs, tokens) = (answer.report.pairs(), answer.report.tokens());
    let filtered = asked.len().saturating_sub(answer.results.len());
    println!(
        "{pairs} pairs, {tokens} tokens, {:.1} ms{}",
        answer.took.as_secs_f64() * 1e3,
        if filtered > 0 { format!("; {filtered} documents not shown") } else { String::new() },
    );
}

/// A document as a line of a table.
fn one_line(text: &str) -> String {
    const CHARACTERS: usize = 100;
    let mut line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = line.char_indices().nth(CHARACTERS) {
        line.truncate(end);
        line.push('…');
    }
    line
}
