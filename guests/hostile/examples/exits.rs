//! Ends its process, as it thinks.

hostile::guest!(|_request, _next| { std::process::exit(0) });
