//! From a file's text to [`Raw`]: what is no TOML, of a wrong type or of an unknown
//! name is refused here, with its line.

use std::path::Path;

use super::raw::Raw;

impl Raw {
    /// Reads a file; component paths, model folders and certificates in it
    /// are relative to the file.
    pub fn read(path: &Path) -> Result<Raw, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("failed to read {}: {error}", path.display()))?;
        let mut raw =
            Raw::parse(&text).map_err(|error| format!("in {}: {error}", path.display()))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        for policy in raw.policies.values_mut() {
            policy.component = folder.join(&policy.component);
        }
        for model in raw.models.values_mut() {
            if model.source.starts_with('.') {
                model.source = folder.join(&model.source).to_string_lossy().into_owned();
            }
        }
        if let Some(tls) = &mut raw.server.tls {
            tls.cert = folder.join(&tls.cert);
            tls.key = folder.join(&tls.key);
        }
        Ok(raw)
    }

    pub fn parse(text: &str) -> Result<Raw, String> {
        toml::from_str(text).map_err(|error: toml::de::Error| {
            let line = error.span().map(|span| text[..span.start].matches('\n').count() + 1);
            let place = line.map_or(String::new(), |line| format!("line {line}: "));
            format!("{place}{}", with_nearest(error.message()))
        })
    }
}

/// serde names the unknown key and all known ones; people want the nearest.
fn with_nearest(message: &str) -> String {
    if !message.starts_with("unknown field") {
        return message.to_owned();
    }
    let mut words = message.split('`').skip(1).step_by(2);
    let Some(unknown) = words.next() else {
        return message.to_owned();
    };
    match nearest(unknown, words) {
        Some(known) => format!("unknown key `{unknown}`; did you mean `{known}`?"),
        None => message.replacen("field", "key", 1),
    }
}

/// The known name that is a few letters away from `unknown`, if one is.
pub fn nearest<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(unknown, name), name))
        .filter(|(similarity, _)| *similarity > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}
