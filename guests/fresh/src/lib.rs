//! Scoring: relevance decays with the age of a document.
//!
//! A relevance score is read as the probability p that the document answers
//! the query. A document of age a keeps the share
//!
//! ```text
//! k = 1 - weight · (1 - 2^(-a / half_life))
//! ```
//!
//! of it: all of it when it is new, `1 - weight / 2` after one half-life, and
//! never less than `1 - weight`. So an old document that is certain to answer
//! still beats a new one that hardly does. A document without a date keeps its
//! score, and so does one from the future.
//!
//! Logits stay logits: p = σ(l) and p' = k·p give l' = ln k + l - ln(1 + (1 - k)·e^l),
//! computed without leaving the scale, so that scores far from zero do not
//! collapse into ties. Where only the order means something there is nothing to
//! decay, and the scores are left alone.

use std::ops::Bound;
use std::time::UNIX_EPOCH;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use maitred_sdk::{Error, Metadata, Params, Policy, Ranked, Result, Scale, Value, context};

const SECONDS_PER_DAY: f64 = 86_400.0;

#[derive(Debug, PartialEq)]
struct Fresh {
    /// The field that holds the date.
    field: String,
    half_life_days: f64,
    /// What age can take away at most, 0 to 1.
    weight: f64,
    /// Seconds since 1970.
    now: f64,
}

impl Policy for Fresh {
    fn new(params: &Params) -> Result<Self> {
        let above_zero = (Bound::Excluded(0.0), Bound::Unbounded);
        let now = context::now()?.duration_since(UNIX_EPOCH).map_err(Error::internal)?;
        Ok(Fresh {
            field: params.or("field", "date".to_string())?,
            half_life_days: params.or_within("half_life_days", 30.0, above_zero)?,
            weight: params.or_within("weight", 0.5, 0.0..1.0)?,
            now: now.as_secs_f64(),
        })
    }

    fn score(&self, document: &Metadata, result: &Ranked, scale: Scale) -> f32 {
        let Some(date) = document.field(&self.field).and_then(seconds) else {
            return result.score;
        };
        let age_days = (self.now - date).max(0.0) / SECONDS_PER_DAY;
        let lost = self.weight * (1.0 - (-age_days / self.half_life_days).exp2());
        let score = f64::from(result.score);
        let decayed = match scale {
            Scale::Probability => score * (1.0 - lost),
            Scale::Logit => (1.0 - lost).ln() + score - softplus(score + lost.ln()),
            Scale::Order => score,
        };
        decayed as f32
    }
}

/// ln(1 + e^x), also where e^x is too large for a number.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// A date as seconds since 1970: a number is that already; a text is RFC 3339,
/// or a day, which begins at midnight UTC.
fn seconds(value: &Value) -> Option<f64> {
    if let Some(number) = value.as_number() {
        return Some(number);
    }
    let text = value.as_text()?.trim();
    let time = text.parse::<Timestamp>().or_else(|_| {
        let day: Date = text.parse()?;
        TimeZone::UTC.to_timestamp(day.at(0, 0, 0, 0))
    });
    Some(time.ok()?.as_second() as f64)
}

maitred_sdk::export!(Fresh);

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use maitred_sdk::Document;
    use maitred_sdk::test::{Kit, assert_manifest_fits, order, request};

    use super::*;

    const MANIFEST: &str = include_str!("../fresh.toml");

    /// 2025-01-01T00:00:00Z
    const NOW: f64 = 1_735_689_600.0;

    fn policy() -> Fresh {
        Fresh { field: "date".into(), half_life_days: 10.0, weight: 0.5, now: NOW }
    }

    fn scored(date: Option<Value>, score: f32, scale: Scale) -> f32 {
        let mut document = Document::new(0, "t");
        if let Some(date) = date {
            document = document.with("date", date);
        }
        let result = Ranked { index: 0, part: 0, score };
        policy().score(&Metadata::from(&document), &result, scale)
    }

    fn text(text: &str) -> Option<Value> {
        Some(Value::Text(text.into()))
    }

    #[test]
    fn a_half_life_costs_half_of_the_weight() {
        let check = |date, expected: f32| {
            let score = scored(date, 0.8, Scale::Probability);
            assert!((score - expected).abs() < 1e-6, "{score} {expected}");
        };
        check(text("2025-01-01"), 0.8);
        check(text("2024-12-22"), 0.8 * 0.75);
        check(text("2024-12-22T00:00:00Z"), 0.8 * 0.75);
        check(text("2024-12-22T02:00:00+02:00"), 0.8 * 0.75);
        check(text("2024-12-12"), 0.8 * 0.625);
        check(text("1900-01-01"), 0.8 * 0.5);
        check(Some(Value::Integer(1_734_825_600)), 0.8 * 0.75);
        check(Some(Value::Number(1_734_825_600.0)), 0.8 * 0.75);
    }

    #[test]
    fn without_a_date_nothing_changes() {
        let dates = [None, text("soon"), text(""), text("2031-01-01"), Some(Value::Boolean(true))];
        for date in dates {
            for scale in [Scale::Logit, Scale::Probability, Scale::Order] {
                assert_eq!(scored(date.clone(), 0.25, scale), 0.25, "{date:?}");
            }
        }
    }

    #[test]
    fn logits_and_probabilities_decay_alike() {
        let sigmoid = |x: f32| 1.0 / (1.0 + (-f64::from(x)).exp());
        for logit in [-12.0, -3.0, -0.5, 0.0, 0.5, 3.0, 12.0] {
            let decayed = scored(text("2024-12-22"), logit, Scale::Logit);
            let expected = sigmoid(logit) * 0.75;
            let error = (sigmoid(decayed) - expected).abs() / expected;
            assert!(error < 1e-6, "{logit}: {decayed}");
        }
        // The sigmoid of either is 0 or 1 in f32; the order survives.
        for (lower, higher) in [(-210.0, -200.0), (-5000.0, -4999.0)] {
            let decayed = |logit| scored(text("2024-12-22"), logit, Scale::Logit);
            assert!(decayed(lower) < decayed(higher));
        }
        assert!(scored(text("2024-12-22"), 5000.0, Scale::Logit).is_finite());
    }

    fn today() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs_f64(NOW)
    }

    #[test]
    fn wrong_parameters_are_named() {
        let check = |name, value, expected: &str| {
            let made = Kit::new().clock(today()).param(name, value).make::<Fresh>();
            assert_eq!(made.err(), Some(Error::internal(expected)));
        };
        check("half_life_days", "0", "parameter `half_life_days` is `0`, not above 0");
        check("weight", "1.5", "parameter `weight` is `1.5`, not at least 0 and below 1");
        assert_manifest_fits::<Fresh>(&Kit::new().clock(today()), MANIFEST);
    }

    #[test]
    fn without_a_clock_it_says_so() {
        let error = Kit::new().run::<Fresh>(request("q", ["d"])).unwrap_err();
        assert!(matches!(&error, Error::Internal(text) if text.contains("capability `clock`")));
    }

    #[test]
    fn it_moves_the_newer_of_two_up() {
        let kit = Kit::new()
            .manifest(MANIFEST)
            .clock(today())
            .next_scores(Scale::Logit, |_, document| 1.0 - 0.1 * document.index as f32);
        let mut request = request("q", ["old", "new"]);
        for (document, date) in request.documents.iter_mut().zip(["2001-01-01", "2025-01-01"]) {
            *document = document.clone().with("date", date);
        }
        assert_eq!(order(&kit.run::<Fresh>(request).unwrap()), [1, 0]);
    }
}
