//! Panics, which in a guest is a trap.

hostile::guest!(|request, _next| { panic!("no ranking for {}", request.query) });
