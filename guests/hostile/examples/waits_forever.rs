//! Waits for something that never comes. The bindings of Rust guests notice
//! that nothing can wake them, and trap.

hostile::guest!(|_request, _next| { std::future::pending().await });
