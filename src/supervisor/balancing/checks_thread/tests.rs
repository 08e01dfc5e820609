//! What is held of servers that cannot be checked, from the text of a configuration.

use std::path::Path;

use super::*;
use crate::config::{LoadOptions, load_text};
use crate::control::Standing;
use crate::control::probe::Probes;

/// The only server of a service, with these lines.
fn held(of_server: &str) -> Health {
    let text = format!(
        "virtual_server 10.0.0.9 80 {{\nlb_algo rr\nlb_kind NAT\nprotocol TCP\n\
         real_server 10.0.1.1 8080 {{\n{of_server}\n}}\n}}\n"
    );
    let options = LoadOptions {
        config_id: None,
        strict: false,
        known_interface: &|_| true,
        inspect_files: false,
        all_include_checks: false,
    };
    let plan = load_text(Path::new("test.conf"), &text, &options).plan.expect("a plan");
    let probes = Probes::new(&plan);
    let service = plan.services.first().expect("a service");
    let (server, beside) = service.servers().next().expect("a server");
    let troubles: Vec<String> =
        beside.checks.iter().filter_map(|check| probes.of(service, server, check).err()).collect();
    assert_eq!(troubles.len(), beside.checks.len(), "none can be made");
    unchecked(&beside.checks, troubles.first())
}

#[test]
fn a_server_that_cannot_be_checked_stays_as_it_begins_and_it_is_said_why() {
    let check = |alpha| format!("SMTP_CHECK {{\nhelo_name \"two words\"\n{alpha}\n}}");
    let usual = held(&check(""));
    assert!(usual.standing == Standing::Up && usual.reason.starts_with("cannot be checked: "), "{usual:?}");
    let alpha = held(&check("alpha"));
    assert!(alpha.standing == Standing::Down && alpha.reason == usual.reason, "{alpha:?}");
    assert_eq!(held(""), Health::up("no check is configured"));
}
