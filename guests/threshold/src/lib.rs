//! Scoring: what scores below a limit is left out, so that a question without an
//! answer gets few results or none, instead of the least bad.
//!
//! The limit is a probability or a logit, and the stage behind may answer with
//! either; it is moved to the scale of the answer once, so that no score is
//! rounded on the way: p = σ(l) = 1 / (1 + e^-l). Where a stage behind gives only
//! an order, no limit means anything, and the request fails instead of passing
//! as if it had been looked at.

use maitred_sdk::{Error, Next, Params, Policy, Ranked, Ranking, Request, Result, Scale};

#[derive(Debug, PartialEq)]
struct Threshold {
    min: f64,
    /// What `min` is; never an order.
    scale: Scale,
    /// Documents that stay, however low they score.
    at_least: usize,
}

impl Policy for Threshold {
    fn new(params: &Params) -> Result<Self> {
        let scales = [("probability", Scale::Probability), ("logit", Scale::Logit)];
        let scale = params.one_of("scale", &scales, Scale::Probability)?;
        let min = match scale {
            Scale::Probability => params.or_within("min", 0.5, 0.0..=1.0)?,
            Scale::Logit | Scale::Order => params.or("min", 0.5)?,
        };
        Ok(Threshold { min, scale, at_least: params.or("at_least", 0)? })
    }

    async fn rerank(&self, request: Request, next: Next) -> Result<Ranking> {
        let mut ranking = next.rerank(request).await?;
        let min = self.min_on(ranking.scale)?;
        let lowest_kept = best_documents(&ranking, self.at_least).last().copied();
        ranking.results.retain(|result| {
            f64::from(result.score) >= min || lowest_kept.is_some_and(|low| !is_below(result, &low))
        });
        Ok(ranking)
    }
}

impl Threshold {
    /// The limit on the scale of an answer; infinite for a probability of 0 or 1
    /// among logits.
    fn min_on(&self, scale: Scale) -> Result<f64> {
        match (self.scale, scale) {
            (Scale::Logit, Scale::Probability) => Ok(1.0 / (1.0 + (-self.min).exp())),
            (Scale::Probability, Scale::Logit) => Ok((self.min / (1.0 - self.min)).ln()),
            (_, Scale::Order) => Err(Error::internal(
                "the stage behind gives only an order, in which no score is too low: \
                 put this policy behind the one that does that",
            )),
            _ => Ok(self.min),
        }
    }
}

/// The best results of so many documents, best first.
fn best_documents(ranking: &Ranking, count: usize) -> Vec<Ranked> {
    if count == 0 {
        return Vec::new();
    }
    let mut best = ranking.clone();
    best.keep_best_parts();
    best.sort();
    best.results.truncate(count);
    best.results
}

/// Whether a result comes after another when both are sorted.
fn is_below(result: &Ranked, other: &Ranked) -> bool {
    let tie = (result.index, result.part) > (other.index, other.part);
    result.score < other.score || result.score == other.score && tie
}

maitred_sdk::export!(Threshold);

#[cfg(test)]
mod tests {
    use maitred_sdk::test::{Kit, assert_manifest_fits, request, scores};

    use super::*;

    const MANIFEST: &str = include_str!("../threshold.toml");

    /// Which of some scores stay.
    fn kept(kit: Kit, scale: Scale, given: &'static [f32]) -> Vec<f32> {
        let kit = kit.next_scores(scale, |_, document| given[document.index as usize]);
        let ranking = kit.run::<Threshold>(request("q", given.iter().map(|_| "d"))).unwrap();
        assert_eq!(ranking.scale, scale);
        scores(&ranking).iter().map(|(_, _, score)| *score).collect()
    }

    fn kit(min: f64, scale: &str) -> Kit {
        Kit::new().manifest(MANIFEST).param("min", min).param("scale", scale)
    }

    #[test]
    fn a_limit_means_the_same_on_either_scale() {
        let probabilities = &[0.2, 0.5, 0.731, 0.7311, 1.0];
        let logits = &[-30.0, -0.5, 0.0, 0.999, 1.0, 30.0];
        let check = |kit: Kit, in_probabilities: &[f32], in_logits: &[f32]| {
            assert_eq!(kept(kit.clone(), Scale::Probability, probabilities), in_probabilities);
            assert_eq!(kept(kit, Scale::Logit, logits), in_logits);
        };
        check(Kit::new().manifest(MANIFEST), &probabilities[1..], &logits[2..]);
        check(kit(0.5, "probability"), &probabilities[1..], &logits[2..]);
        check(kit(0.0, "logit"), &probabilities[1..], &logits[2..]);
        // σ(1) = 0.73106
        check(kit(1.0, "logit"), &probabilities[3..], &logits[4..]);
        check(kit(0.0, "probability"), probabilities, logits);
        check(kit(1.0, "probability"), &probabilities[4..], &[]);
        check(kit(-800.0, "logit"), probabilities, logits);
        check(kit(800.0, "logit"), &probabilities[4..], &[]);
    }

    #[test]
    fn the_best_may_stay_all_the_same() {
        let check = |at_least, given, expected: &[f32]| {
            let kit = kit(0.5, "probability").param("at_least", at_least);
            assert_eq!(kept(kit, Scale::Probability, given), expected, "{at_least}");
        };
        let low: &[f32] = &[0.1, 0.3, 0.2];
        check(0, low, &[]);
        check(1, low, &[0.3]);
        check(2, low, &[0.3, 0.2]);
        check(9, low, low);
        check(1, &[0.1, 0.1], &[0.1]);
        check(1, &[0.6, 0.7, 0.1], &[0.6, 0.7]);
    }

    #[test]
    fn an_order_has_no_limit() {
        let kit = Kit::new().next_scores(Scale::Order, |_, _| 1.0);
        let error = kit.run::<Threshold>(request("q", ["d"])).unwrap_err();
        assert!(matches!(error, Error::Internal(_)), "{error}");
    }

    #[test]
    fn parameters_are_checked() {
        assert_manifest_fits::<Threshold>(&Kit::new(), MANIFEST);
        let error = |text| Err(Error::internal(text));
        assert_eq!(
            kit(1.5, "probability").make::<Threshold>(),
            error("parameter `min` is `1.5`, not at least 0 and at most 1")
        );
        assert_eq!(
            kit(1.5, "percent").make::<Threshold>(),
            error("parameter `scale` is `percent`, not one of `probability`, `logit`")
        );
    }
}
