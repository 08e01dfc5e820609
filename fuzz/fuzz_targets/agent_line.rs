#![no_main]

#[path = "../../healthcheck/tests/decoders/agent_line.rs"]
mod agent_line;

libfuzzer_sys::fuzz_target!(|data: &[u8]| agent_line::check(data));
