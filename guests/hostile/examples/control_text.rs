//! Refuses with words that would forge a line of the log, colour a terminal and
//! turn the text around.

use hostile::maitred_sdk::Error;

hostile::guest!(|_request, _next| {
    Err(Error::Denied("no\r\nINFO all is well \u{1b}[32m\u{0}\u{202e}".into()))
});
