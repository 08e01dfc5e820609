use std::path::Path;

use super::*;
use crate::config::{LoadOptions, Loaded, Severity, lines, load_text};
use crate::host::Vmacs;

fn codes(loaded: &Loaded) -> Vec<Code> {
    loaded.findings.iter().filter(|f| f.severity > Severity::Note).map(|f| f.code).collect()
}

fn said(loaded: &Loaded) -> String {
    lines(&loaded.findings, &loaded.sources).join("\n")
}

#[test]
fn two_virtual_mac_interfaces_of_one_name_are_an_error_where_the_name_stands() {
    let options = LoadOptions { known_interface: &|_| true, ..LoadOptions::default() };
    let two = |first: &str, second: &str| {
        let block = |name: &str, interface: &str, vrid: u8, more: &str| {
            format!(
                "vrrp_instance {name} {{\ninterface {interface}\nvirtual_router_id {vrid}\n{more}\n\
                 virtual_ipaddress {{\n10.0.{vrid}.1/24\n}}\n}}\n"
            )
        };
        load_text(
            Path::new("test.conf"),
            &(block("A", "eth0", 91, first) + &block("B", "eth1", 92, second)),
            &options,
        )
    };
    let names = |loaded: &Loaded| {
        let vmacs = Vmacs::of(loaded.plan.as_ref().expect("a plan"));
        vmacs.specs().iter().map(|spec| spec.name.to_string()).collect::<Vec<_>>()
    };
    for (first, second) in [("use_vmac v", "use_vmac v"), ("use_vmac v", "use_vmac name v")] {
        let loaded = two(first, second);
        assert_eq!(codes(&loaded), [Code::Duplicate], "{first}, {second}: {}", said(&loaded));
        assert!(said(&loaded).contains("test.conf:12:"), "{}", said(&loaded));
        assert_eq!(names(&loaded), ["v", "vrrp.92"]);
    }
    // An automatic name gives way, whichever comes first.
    for (first, second, expected) in [
        ("use_vmac", "use_vmac vrrp.91", ["vrrp1.91", "vrrp.91"]),
        ("use_vmac vrrp.92", "use_vmac", ["vrrp.92", "vrrp1.92"]),
        ("use_vmac", "use_vmac", ["vrrp.91", "vrrp.92"]),
        ("use_vmac v", "use_vmac w", ["v", "w"]),
    ] {
        let loaded = two(first, second);
        assert_eq!(codes(&loaded), [], "{first}, {second}: {}", said(&loaded));
        assert_eq!(names(&loaded), expected, "{first}, {second}");
    }
}
