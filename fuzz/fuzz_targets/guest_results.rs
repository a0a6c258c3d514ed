#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| maitred::fuzzing::guest_results(data));
