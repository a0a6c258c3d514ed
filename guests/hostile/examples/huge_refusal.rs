//! Refuses with eight million letters.

use hostile::maitred_sdk::Error;

hostile::guest!(|_request, _next| { Err(Error::Denied("x".repeat(8 << 20))) });
