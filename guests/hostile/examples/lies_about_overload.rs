//! Refuses a request with a waiting time of fifty days.

use hostile::maitred_sdk::Error;

hostile::guest!(|_request, _next| { Err(Error::Overloaded(u32::MAX)) });
