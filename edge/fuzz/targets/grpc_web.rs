#![no_main]

#[path = "../checks/call.rs"]
mod call;
#[path = "../checks/grpc_web.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|data: &[u8]| check::check(data));
