//! Sends metadata with a number that is none, under a megabyte of name.

use hostile::maitred_sdk::{Field, Value};

hostile::guest!(|request, next| {
    let mut request = request;
    let name = "\n".repeat(1 << 20);
    request.documents[0].fields.push(Field { name, value: Value::Number(f64::NAN) });
    next.rerank(request).await
});
