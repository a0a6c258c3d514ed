//! The description of the public listener, for people: the same document as one
//! page of HTML, rendered here. It has no script and nothing from elsewhere; what
//! unfolds is `details`, which every browser opens with the keyboard.

use std::fmt::Write;

use serde_json::Value as Json;

/// The page of an OpenAPI document of ours.
pub fn render(document: &Json) -> String {
    let mut page = String::from(HEAD);
    let info = &document["info"];
    let (title, version) = (escaped(&info["title"]), escaped(&info["version"]));
    let tags = items(&document["tags"]);
    push(&mut page, format_args!("<header><h1>{title} {version}</h1>"));
    push(&mut page, format_args!("<p>{}</p>", prose(&info["summary"])));
    push(&mut page, format_args!("<p>{}</p>", prose(&info["description"])));
    page.push_str("<nav aria-label=\"Sections\"><ul>");
    for tag in tags {
        let name = escaped(&tag["name"]);
        push(&mut page, format_args!("<li><a href=\"#tag-{name}\">{name}</a></li>"));
    }
    page.push_str("<li><a href=\"#schemas\">schemas</a></li><li><a href=\"openapi.json\">openapi.json</a></li></ul></nav></header><main>");
    for tag in tags {
        section(&mut page, document, tag);
    }
    page.push_str("<section aria-labelledby=\"schemas\"><h2 id=\"schemas\">schemas</h2>");
    for (name, schema) in members(&document["components"]["schemas"]) {
        component(&mut page, name, schema);
    }
    page.push_str("</section></main></body></html>\n");
    page
}

const HEAD: &str = "<!doctype html>
<html lang=\"en\"><head><meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">
<meta name=\"color-scheme\" content=\"light dark\">
<title>maitred: HTTP</title>
<style>
:root { color-scheme: light dark; --line: light-dark(#ccc, #444); --soft: light-dark(#f4f4f4, #222); --link: light-dark(#0550ae, #7ab7ff); }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
a { color: var(--link); }
code { font: 0.9em ui-monospace, monospace; }
nav ul { display: flex; flex-wrap: wrap; gap: 0.5rem 1rem; list-style: none; padding: 0; }
details { border: 1px solid var(--line); border-radius: 0.4rem; margin: 0.5rem 0; }
summary { padding: 0.5rem 0.75rem; background: var(--soft); cursor: pointer; }
summary:focus-visible, a:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
details > div { padding: 0 0.75rem; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin: 0.5rem 0; }
th, td { text-align: left; vertical-align: top; padding: 0.3rem 0.75rem 0.3rem 0; border-bottom: 1px solid var(--line); }
</style></head><body>
";

/// The operations with this tag.
fn section(page: &mut String, document: &Json, tag: &Json) {
    let name = escaped(&tag["name"]);
    push(
        page,
        format_args!("<section aria-labelledby=\"tag-{name}\"><h2 id=\"tag-{name}\">{name}</h2>"),
    );
    push(page, format_args!("<p>{}</p>", prose(&tag["description"])));
    for (path, methods) in members(&document["paths"]) {
        // The same operations once more, as the description says.
        if path.starts_with("/routes/") {
            continue;
        }
        for (method, operation) in members(methods) {
            if items(&operation["tags"]).contains(&tag["name"]) {
                self::operation(page, &method.to_uppercase(), path, operation);
            }
        }
    }
    page.push_str("</section>");
}

fn operation(page: &mut String, method: &str, path: &str, operation: &Json) {
    let summary = prose(&operation["summary"]);
    push(
        page,
        format_args!("<details><summary><code>{method} {path}</code> {summary}</summary><div>"),
    );
    let parameters = items(&operation["parameters"]);
    if !parameters.is_empty() {
        page.push_str("<h3>Headers</h3><table><tr><th>name</th><th>value</th><th></th></tr>");
        for parameter in parameters {
            row(page, &escaped(&parameter["name"]), parameter);
        }
        page.push_str("</table>");
    }
    let body = &operation["requestBody"]["content"]["application/json"]["schema"];
    if !body.is_null() {
        push(page, format_args!("<h3>Body</h3><p>{}</p>", kind(body)));
    }
    page.push_str("<h3>Answers</h3><table><tr><th>status</th><th>body</th><th></th></tr>");
    for (status, answer) in members(&operation["responses"]) {
        let body = members(&answer["content"]).next();
        let body = body.map(|(media, content)| match media {
            "application/json" => kind(&content["schema"]),
            other => other.to_owned(),
        });
        let headers: Vec<_> =
            members(&answer["headers"]).map(|(name, _)| format!("<code>{name}</code>")).collect();
        push(
            page,
            format_args!(
                "<tr><td>{status}</td><td>{}</td><td>{} Headers: {}</td></tr>",
                body.unwrap_or_default(),
                prose(&answer["description"]),
                headers.join(", ")
            ),
        );
    }
    page.push_str("</table></div></details>");
}

fn component(page: &mut String, name: &str, schema: &Json) {
    push(
        page,
        format_args!("<details open id=\"{name}\"><summary><code>{name}</code></summary><div>"),
    );
    push(page, format_args!("<p>{}</p>", prose(&schema["description"])));
    let own = schema["properties"].is_object();
    if own {
        properties(page, schema);
    }
    for part in items(&schema["anyOf"]) {
        match part["properties"].is_object() {
            true => properties(page, part),
            false => push(page, format_args!("<p>{}</p>", kind(part))),
        }
    }
    if !own && schema["anyOf"].is_null() {
        push(page, format_args!("<p>{}</p>", kind(schema)));
    }
    page.push_str("</div></details>");
}

fn properties(page: &mut String, schema: &Json) {
    page.push_str("<table><tr><th>member</th><th>value</th><th></th></tr>");
    let required = items(&schema["required"]);
    for (name, member) in members(&schema["properties"]) {
        let must = required.iter().any(|required| required == name);
        let mark = if must { "<br>required" } else { "" };
        let described = serde_json::json!({"schema": member, "description": member["description"]});
        row(page, &format!("<code>{name}</code>{mark}"), &described);
    }
    page.push_str("</table>");
}

fn row(page: &mut String, name: &str, described: &Json) {
    let (value, about) = (kind(&described["schema"]), prose(&described["description"]));
    push(page, format_args!("<tr><td>{name}</td><td>{value}</td><td>{about}</td></tr>"));
}

/// A schema in a few words, with links to those that have names.
fn kind(schema: &Json) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or_default();
        return format!("<a href=\"#{name}\">{name}</a>");
    }
    for parts in ["anyOf", "oneOf", "allOf"] {
        let parts = items(&schema[parts]);
        if !parts.is_empty() {
            return parts.iter().map(kind).collect::<Vec<_>>().join(" or ");
        }
    }
    if !schema["const"].is_null() {
        return format!("<code>{}</code>", escaped(&schema["const"]));
    }
    let values = items(&schema["enum"]);
    if !values.is_empty() {
        let values: Vec<_> =
            values.iter().map(|value| format!("<code>{}</code>", escaped(value))).collect();
        return values.join(" or ");
    }
    let word = |kind: &Json| match kind.as_str() {
        Some("array") => format!("list of {}", kind_of_items(schema)),
        Some(other) => other.to_owned(),
        None => "anything".into(),
    };
    let words: Vec<_> = match &schema["type"] {
        Json::Array(kinds) => kinds.iter().filter(|kind| *kind != "null").map(word).collect(),
        only => vec![word(only)],
    };
    let mut words = words.join(" or ");
    for (bound, before) in
        [("minimum", "from"), ("maximum", "to"), ("minItems", "at least"), ("maxItems", "at most")]
    {
        if let Some(number) = schema[bound].as_number() {
            push(&mut words, format_args!(", {before} {number}"));
        }
    }
    words
}

fn kind_of_items(schema: &Json) -> String {
    kind(&schema["items"])
}

/// Text with its code marked as such.
fn prose(text: &Json) -> String {
    let text = escaped(text);
    let mut prose = String::with_capacity(text.len());
    for (place, part) in text.split('`').enumerate() {
        match place % 2 {
            0 => prose.push_str(part),
            _ => push(&mut prose, format_args!("<code>{part}</code>")),
        }
    }
    prose
}

fn escaped(text: &Json) -> String {
    let text = text.as_str().unwrap_or_default();
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn items(list: &Json) -> &[Json] {
    list.as_array().map_or(&[], Vec::as_slice)
}

fn members(object: &Json) -> impl Iterator<Item = (&str, &Json)> {
    object.as_object().into_iter().flatten().map(|(name, member)| (name.as_str(), member))
}

fn push(page: &mut String, text: std::fmt::Arguments<'_>) {
    page.write_fmt(text).expect("a string takes everything");
}
