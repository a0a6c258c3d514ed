//! The page's files, as they are compiled in.

/// A file of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct File {
    name: &'static str,
    pub media: Media,
    pub text: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    Html,
    Css,
    JavaScript,
    Svg,
}

/// What is at the page's address; it names the others.
pub const INDEX: File = File::new("index.html", Media::Html, include_str!("page/index.html"));

const FILES: [File; 10] = [
    File::new("page.css", Media::Css, include_str!("page/page.css")),
    File::new("page.js", Media::JavaScript, include_str!("page/page.js")),
    File::new("stream.js", Media::JavaScript, include_str!("page/stream.js")),
    File::new("chart.js", Media::JavaScript, include_str!("page/chart.js")),
    File::new("charts.js", Media::JavaScript, include_str!("page/charts.js")),
    File::new("elements.js", Media::JavaScript, include_str!("page/elements.js")),
    File::new("tables.js", Media::JavaScript, include_str!("page/tables.js")),
    File::new("trial.js", Media::JavaScript, include_str!("page/trial.js")),
    File::new("words.js", Media::JavaScript, include_str!("page/words.js")),
    File::new("icon.svg", Media::Svg, include_str!("page/icon.svg")),
];

impl File {
    const fn new(name: &'static str, media: Media, text: &'static str) -> File {
        File { name, media, text }
    }
}

/// A file that the page names.
pub fn file(name: &str) -> Option<File> {
    FILES.into_iter().find(|file| file.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the page names is there, and nothing in it is elsewhere.
    #[test]
    fn the_page_is_whole() {
        let named = |text: &'static str, before: &str| {
            let parts = text.split(before).skip(1);
            parts.map(|rest| rest.split('"').next().unwrap_or_default()).collect::<Vec<_>>()
        };
        let mut found = named(INDEX.text, "\"dashboard/");
        for script in FILES.iter().filter(|file| file.media == Media::JavaScript) {
            found.extend(named(script.text, "from \"./"));
        }
        for name in &found {
            assert!(file(name).is_some(), "`{name}` is named and is not there");
        }
        for file in FILES {
            assert!(found.contains(&file.name), "nothing names `{}`", file.name);
        }
        for file in FILES.iter().chain([&INDEX]) {
            // The one address is the name of a language.
            let text = file.text.replace("http://www.w3.org/2000/svg", "");
            for elsewhere in ["http:", "https:", "src=\"//", "url("] {
                assert!(!text.contains(elsewhere), "{} has `{elsewhere}`", file.name);
            }
        }
    }
}
