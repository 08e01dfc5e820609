#![no_main]

#[path = "../../ipvs/tests/engine/flow.rs"]
mod flow;
#[path = "../../ipvs/tests/engine/operations.rs"]
mod operations;
#[path = "../../ipvs/tests/engine/packets.rs"]
mod packets;
#[path = "../../ipvs/tests/engine/site.rs"]
mod site;

libfuzzer_sys::fuzz_target!(|data: &[u8]| operations::check(data));
