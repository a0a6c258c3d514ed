//! Names what computes a route's answers, so that an operator can tell from an
//! answer which version of everything it went through:
//! `dedupe@5a0c11223344,fresh@9d8e7f6a5b4c+1f2e3d4c,mini@77aa88bb99cc`.
//!
//! A policy is named by its component's sha256 and, if it has parameters (its
//! route's, or its manifest's defaults) or powers that were granted, by theirs; the
//! model by the settings that decide its scores. Names are checked to be visible ASCII without `@`, `+` and
//! `,`, so the text can stand in a header and be taken apart.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::config::{Grant, ModelSettings};

/// Digits of a sha256 that tell versions apart.
const VERSION_DIGITS: usize = 12;
/// Parameters are told apart within one version of one policy.
const PARAMS_DIGITS: usize = 8;

/// A policy in its place.
pub fn policy(
    name: &str,
    version: &str,
    grants: &[Grant],
    params: &BTreeMap<Arc<str>, Arc<str>>,
) -> String {
    let mut named = format!("{name}@{version}");
    if !params.is_empty() || !grants.is_empty() {
        let grants: BTreeSet<&str> = grants.iter().map(|grant| grant.name()).collect();
        // Lengths keep one text from reading as two.
        let text = params.iter().fold(String::new(), |mut text, (name, value)| {
            let (name_bytes, value_bytes) = (name.len(), value.len());
            let _ = write!(text, "{name_bytes} {name} {value_bytes} {value} ");
            text
        });
        let _ = write!(named, "+{}", digits(&format!("{text}{grants:?}"), PARAMS_DIGITS));
    }
    named
}

/// A model. What is behind its source is not looked at: who exchanges the files
/// of a folder has the same name and another model.
pub fn model(name: &str, settings: &ModelSettings) -> String {
    let ModelSettings { source, engine, device, precision, length_max, truncation, .. } = settings;
    let text = format!(
        "{} {source} {engine:?} {device:?} {precision:?} {length_max:?} {truncation:?}",
        source.len()
    );
    format!("{name}@{}", digits(&text, VERSION_DIGITS))
}

fn digits(text: &str, count: usize) -> String {
    let digest = Sha256::digest(text.as_bytes());
    let mut hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    hex.truncate(count);
    hex
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Raw, check};

    #[test]
    fn a_policy_is_named_by_version_parameters_and_powers() {
        let granted = |grants: &[Grant], params: &[(&str, &str)]| {
            let params = params.iter().map(|&(name, value)| (name.into(), value.into())).collect();
            policy("fresh", "0123456789ab", grants, &params)
        };
        let named = |params: &[(&str, &str)]| granted(&[], params);
        assert_eq!(named(&[]), "fresh@0123456789ab");
        let days = named(&[("days", "30")]);
        assert_eq!(days.len(), "fresh@0123456789ab+".len() + PARAMS_DIGITS, "{days}");
        assert_eq!(days, named(&[("days", "30")]));
        for other in [&[("days", "31")][..], &[("day", "s30")], &[("days", "30"), ("a", "")]] {
            assert_ne!(days, named(other), "{other:?}");
        }
        let clock = granted(&[Grant::Clock], &[]);
        assert_ne!(clock, named(&[]));
        assert_ne!(clock, granted(&[Grant::Random], &[]));
        assert_eq!(
            granted(&[Grant::Clock, Grant::Random], &[]),
            granted(&[Grant::Random, Grant::Clock], &[])
        );
    }

    #[test]
    fn a_model_is_named_by_what_decides_its_scores() {
        let named = |text: &str| {
            let settings = check(&mut Raw::parse(text).unwrap()).unwrap();
            model("m", &settings.models["m"])
        };
        let plain = named("[models.m]\nsource = 'owner/name'");
        assert_eq!(plain, named("[models.m]\nsource = 'owner/name'\nreplicas = 3"));
        for other in ["source = 'owner/other'", "source = 'owner/name'\nprecision = 'f16'"] {
            assert_ne!(plain, named(&format!("[models.m]\n{other}")), "{other}");
        }
    }
}
