#![no_main]

#[path = "../checks/call.rs"]
mod call;
#[path = "../checks/connect.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|data: &[u8]| check::check(data));
