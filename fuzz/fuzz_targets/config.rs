//! Any text, in both syntaxes: no panic, every finding can be shown, and a text that has a plan keeps it when
//! it is written and read again.

#![no_main]

use std::path::Path;

use buoy::config::{self, LoadOptions, Syntax};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    // Includes and environment variables would make the outcome depend on this machine.
    if text.contains("include") || text.contains("_ENV") || text.contains("_RANDOM") {
        return;
    }
    let options = LoadOptions {
        config_id: Some("here"),
        strict: false,
        known_interface: &|_| true,
        inspect_files: false,
        all_include_checks: false,
    };
    for name in ["fuzz.conf", "fuzz.toml"] {
        let loaded = config::load_text(Path::new(name), text, &options);
        config::for_people(&loaded.findings, &loaded.sources, false);
        config::json(&loaded.findings, &loaded.sources);
        let Some(plan) = &loaded.plan else { continue };
        for (name, syntax) in [("again.conf", Syntax::Conf), ("again.toml", Syntax::Toml)] {
            let again = config::load_text(Path::new(name), &loaded.write(syntax), &options);
            assert_eq!(again.plan.as_ref(), Some(plan));
        }
    }
});
