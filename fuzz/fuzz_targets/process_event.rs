#![no_main]

#[path = "../../tests/decoders/process_event.rs"]
mod process_event;

libfuzzer_sys::fuzz_target!(|data: &[u8]| process_event::check(data));
