//! SCTP: services as TCP has them.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::Duration;

use ::buoy::lab::Program;
use buoy_ipvs::{Protocol, Scheduler, ServiceId, Table, VirtualService, Weight};
use socket2::{Domain, Socket, Type};

use crate::client::{Client, Tally};
use crate::director::{Director, real, serving, virtual_server};
use crate::server::{PORT, Server};
use crate::site::{SOON, Site, Way};

with_both_programs!(associations_are_balanced);

fn socket(address: SocketAddr) -> std::io::Result<Socket> {
    Socket::new(Domain::for_address(address), Type::STREAM, Some(socket2::Protocol::SCTP))
}

/// Answers every association with the name of the server; it ends with the test program.
fn answer(server: &Server, address: IpAddr) {
    let (name, at) = (server.name.clone(), SocketAddr::new(address, PORT));
    let listener = server.host.run(move || {
        let listener = socket(at)?;
        listener.bind(&at.into())?;
        listener.listen(16)?;
        std::io::Result::Ok(listener)
    });
    let listener = listener.expect("a port for SCTP");
    thread::spawn(move || {
        while let Ok((mut association, _)) = listener.accept() {
            // A client that goes away will not miss the answer.
            association.write_all(name.as_bytes()).unwrap_or_default();
        }
    });
}

fn ask(client: &Client, to: SocketAddr) -> std::io::Result<String> {
    client.host.run(move || {
        let mut socket = socket(to)?;
        // Otherwise every address of the host would be part of the association.
        socket.bind(&SocketAddr::new(Client::address(0), 0).into())?;
        socket.connect_timeout(&to.into(), Duration::from_secs(8))?;
        socket.set_read_timeout(Some(Duration::from_secs(8)))?;
        let mut name = String::new();
        socket.read_to_string(&mut name)?;
        Ok(name)
    })
}

fn associations_are_balanced(program: Program) {
    let site = Site::new();
    let mut director = Director::new(&site, program);
    let ways = [Way::Masquerade, Way::Direct];
    for server in &site.servers {
        answer(server, server.address);
        answer(server, Way::Direct.vip());
    }
    let text = ways.map(|way| {
        let words = format!("protocol SCTP\n    lb_algo wrr\n    {}", way.words());
        let weight = |number| format!("weight {}", number + 1);
        virtual_server(&format!("{} {PORT}", way.vip()), &words, &site.servers, weight)
    });
    director.start(&text.concat());
    let id = |way: Way| ServiceId::Address { protocol: Protocol::Sctp, address: way.vip(), port: PORT };
    let complete = |table: &Table| ways.iter().all(|way| serving(table, &id(*way)).len() == 3);
    director.wait_for_table(SOON, "the services", complete);
    let table = director.table();
    assert_eq!(table.entries().len(), ways.len(), "{table:?}");
    for way in ways {
        let entry = table.entry(&id(way)).expect("it is there");
        assert_eq!(entry.service, VirtualService::new(id(way), Scheduler::Wrr));
        for (server, weight) in site.servers.iter().zip(1..) {
            let held = entry.servers[&real(server)];
            assert_eq!((held.weight, held.upper_threshold), (Weight::clamped(weight), 0));
        }
        let mut tally = Tally::new();
        for number in 0..6 {
            let name = ask(&site.client, SocketAddr::new(way.vip(), PORT));
            let name = name.unwrap_or_else(|e| panic!("{way:?}, {number}: {e}: {}", director.story()));
            *tally.entry(name).or_default() += 1;
        }
        assert_eq!(tally.into_values().collect::<Vec<_>>(), [1, 2, 3], "{way:?}: {}", director.story());
    }
}
