//! Panics in the log: what, where, in which thread, and how it came there.

use std::any::Any;
use std::backtrace::Backtrace;
use std::panic::PanicHookInfo;

/// From now on every panic of this process is logged with its backtrace, whatever `RUST_BACKTRACE` says: it is
/// rare, and nobody can ask for it again afterwards. Call it when the log stands.
pub(super) fn log_panics() {
    std::panic::set_hook(Box::new(report));
}

fn report(info: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let location = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    let message = message(info.payload());
    tracing::error!(
        thread = thread.name().unwrap_or("unnamed"),
        backtrace = %Backtrace::force_capture(),
        "panic at {location}: {message}"
    );
}

/// What `panic!` was given: a literal, or a formatted text.
fn message(payload: &(dyn Any + Send)) -> &str {
    let literal = payload.downcast_ref::<&str>().copied();
    literal.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
