//! How much of long texts is read, as the dialects ask for it: under many names,
//! and always from the beginning of a text.

use std::num::NonZeroU32;

use super::Problem;
use super::object::{Object, invalid, unexpected};
use crate::http::errors::shown;
use crate::rerank::Lengths;

/// Cross-encoders here keep the beginning of a text; a client that wants the
/// end would get other scores than it expects, so it gets an error instead.
pub fn side(body: &Object<'_>, name: &str) -> Result<(), Problem> {
    match body.text(name)?.as_deref() {
        None | Some("Right" | "right") => Ok(()),
        Some(left @ ("Left" | "left")) => {
            Err(invalid(format!("`{name}` is \"{left}\"; only \"right\" is supported")))
        }
        Some(other) => {
            let other = shown(other);
            Err(invalid(format!("`{name}` is \"{other}\"; it must be \"right\"")))
        }
    }
}

/// The tokens of one text: the least of what the members of these names say.
/// Where `zero` is allowed, it means that there is no limit.
pub fn tokens(
    body: &Object<'_>,
    names: &[&str],
    zero: bool,
) -> Result<Option<NonZeroU32>, Problem> {
    let mut least = None;
    for name in names {
        let limit: Option<u32> = body.integer(name, u32::from(!zero)..=u32::MAX)?;
        let limit = limit.and_then(NonZeroU32::new);
        least = [least, limit].into_iter().flatten().min();
    }
    Ok(least)
}

/// vLLM's `truncate_prompt_tokens`, the tokens of a pair: a client that names it
/// wants truncation, and with -1 as far as the model needs it.
pub fn pair(
    body: &Object<'_>,
    truncate: &mut Option<bool>,
    lengths: &mut Lengths,
) -> Result<(), Problem> {
    const NAME: &str = "truncate_prompt_tokens";
    let Some(tokens) = body.integer(NAME, -1_i64..=i64::from(u32::MAX))? else {
        return Ok(());
    };
    if tokens == 0 {
        let raw = body.required(NAME)?;
        return Err(unexpected(&body.path(NAME), "-1 or an integer from 1 to 4294967295", raw));
    }
    *truncate = Some(true);
    lengths.pair_max = u32::try_from(tokens).ok().and_then(NonZeroU32::new);
    Ok(())
}
