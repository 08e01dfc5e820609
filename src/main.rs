use std::process::ExitCode;

fn main() -> ExitCode {
    buoy::cli::main()
}
