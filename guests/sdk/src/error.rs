//! Ways to end a request without a ranking.

use std::fmt::Display;
use std::time::Duration;

use crate::Error;

/// What a policy returns: an [`Error`] is a refusal that the client reads, or,
/// if it is [`Error::Internal`], the policy's own failure.
pub type Result<T> = std::result::Result<T, Error>;

/// Each takes whatever can be shown, so `map_err(Error::internal)` turns any
/// error into one of these.
impl Error {
    /// The request is at fault. The client reads `why` (status 400 or 422,
    /// whatever its dialect has); asking again does not help.
    pub fn invalid(why: impl Display) -> Self {
        Error::Invalid(why.to_string())
    }

    /// The policy refuses the request. The client reads `why` (status 403).
    pub fn denied(why: impl Display) -> Self {
        Error::Denied(why.to_string())
    }

    /// Too much at once. The client is told to ask again after `retry_after`
    /// (status 429), which counts in whole milliseconds.
    pub fn overloaded(retry_after: Duration) -> Self {
        Error::Overloaded(u32::try_from(retry_after.as_millis()).unwrap_or(u32::MAX))
    }

    /// Something that the request needs is not there now. The client reads
    /// `what` (status 503) and may ask again.
    pub fn unavailable(what: impl Display) -> Self {
        Error::Unavailable(what.to_string())
    }

    /// The policy, or how it is configured, is at fault. `why` is for the
    /// operator's log; the client hears that the policy failed (status 502), or,
    /// where the route bypasses failures, gets the plain model's ranking.
    pub fn internal(why: impl Display) -> Self {
        Error::Internal(why.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_made_of_what_is_at_hand() {
        let parsed = "x".parse::<u8>().map_err(Error::internal);
        assert_eq!(parsed, Err(Error::Internal("invalid digit found in string".into())));
        assert_eq!(Error::invalid(format_args!("{} words", 3)), Error::Invalid("3 words".into()));
        assert_eq!(Error::overloaded(Duration::from_secs(2)), Error::Overloaded(2000));
        assert_eq!(Error::overloaded(Duration::MAX), Error::Overloaded(u32::MAX));
    }
}
