//! Any body at any path, as far as it goes without a route: decoded within its
//! bounds, or refused with words and no fault of ours. See
//! [`fuzzing`](crate::fuzzing).

use hyper::Method;

use super::Side;
use super::dialect::object::Object;
use super::dialect::{Bounds, Dialect, Envelope, KNOWN};
use super::errors::Problem;
use super::router::{self, Endpoint};

const BOUNDS: Bounds = Bounds { documents_max: 16, fields_max: 8 };

/// The first line is the path, the rest is the body.
pub fn fuzz(data: &[u8]) {
    let end = data.iter().position(|&byte| byte == b'\n').unwrap_or(data.len());
    let (path, body) = data.split_at(end);
    let Ok(path) = std::str::from_utf8(path) else {
        return;
    };
    if let Err(problem) = decoded(path, body) {
        let status = problem.status(None).as_u16();
        assert!((400..500).contains(&status), "{problem:?}");
        assert!(!problem.text("id").is_empty());
        assert!(!problem.body(None, "id").is_empty());
    }
}

fn decoded(path: &str, body: &[u8]) -> Result<(), Problem> {
    let endpoint = router::resolve(Side::Public, &Method::POST, path)?;
    let Endpoint::Rerank(target) = endpoint else {
        return Ok(());
    };
    let object = Object::body(body, KNOWN)?;
    let dialect = Dialect::recognise(target.dialect, &object)?;
    let envelope = Envelope { request_id: "id".into(), priority: None, timeout: None };
    let ask = dialect.decode(&object, &envelope, &BOUNDS)?.ask;
    assert!(ask.documents.len() <= BOUNDS.documents_max);
    assert!(ask.documents.iter().all(|document| document.fields.len() <= BOUNDS.fields_max));
    Ok(())
}
