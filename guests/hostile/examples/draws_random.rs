//! Draws from both sources of random numbers that WASI has, and tells what it got.
#![allow(unsafe_code)]

use std::hash::{BuildHasher, RandomState};

use hostile::maitred_sdk::Error;

unsafe extern "C" {
    /// Of the toolchain's own library; it asks `wasi:random/random`.
    fn getentropy(bytes: *mut u8, count: usize) -> i32;
}

hostile::guest!(|_request, _next| {
    let mut bytes = [0; 8];
    // SAFETY: there is room for as many bytes as are asked for.
    let failed = unsafe { getentropy(bytes.as_mut_ptr(), bytes.len()) } != 0;
    let (secure, seed) = (u64::from_le_bytes(bytes), RandomState::new().hash_one(0));
    Err(Error::Denied(if failed { "nothing".into() } else { format!("{secure:016x} {seed:016x}") }))
});
