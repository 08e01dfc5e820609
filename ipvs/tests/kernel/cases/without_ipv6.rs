use buoy_ipvs::{Change, Forwarding, Plane};

use crate::bench::{empty_plane, refusal, server, service, tcp, tcp6};
use crate::machine::inside;

#[test]
#[ignore = "runs in a kernel of its own"]
fn an_ipv6_service_is_refused_by_name_and_others_are_made() {
    if !inside() {
        return;
    }
    let mut plane = empty_plane();
    let refused = refusal(&mut plane, Change::AddService(service(tcp6(80))));
    assert_eq!(
        refused,
        "cannot add virtual service TCP [2001:db8::1]:80: this kernel balances no IPv6: enable it (ipv6.disable=0, \
         CONFIG_IP_VS_IPV6) or remove the service"
    );
    let adding = [
        Change::AddService(service(tcp(80))),
        Change::AddServer(tcp(80), server("10.1.0.1", Forwarding::Direct)),
    ];
    assert_eq!(plane.apply(&adding).unwrap(), []);
}
