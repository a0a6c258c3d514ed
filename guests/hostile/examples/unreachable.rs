//! Runs an instruction that must not be reached.

hostile::guest!(|_request, _next| { hostile::raw::unreachable() });
