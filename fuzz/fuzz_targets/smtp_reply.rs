#![no_main]

#[path = "../../healthcheck/tests/decoders/smtp_reply.rs"]
mod smtp_reply;

libfuzzer_sys::fuzz_target!(|data: &[u8]| smtp_reply::check(data));
