//! Virtual servers that change at random.

use std::fmt::Write;

use fastrand::Rng;

const MOST_SERVICES: usize = 60;
const MOST_SERVERS: usize = 12;
const SCHEDULERS: [&str; 6] = ["rr", "wrr", "lc", "wlc", "sh", "mh"];

pub(super) struct Site {
    services: Vec<Service>,
}

struct Service {
    /// Its address and its name.
    number: u16,
    scheduler: &'static str,
    quorum: u8,
    sorry: bool,
    persistent: bool,
    servers: Vec<Server>,
}

struct Server {
    number: u16,
    weight: u8,
    check: Check,
}

/// Nothing listens where they go.
#[derive(Clone, Copy, Debug)]
enum Check {
    None,
    Tcp,
    Http,
    Ssl,
    Smtp,
    Udp,
}

const CHECKS: [Check; 6] = [Check::None, Check::Tcp, Check::Http, Check::Ssl, Check::Smtp, Check::Udp];

impl Site {
    pub(super) fn new(random: &mut Rng) -> Self {
        let mut site = Self { services: Vec::new() };
        while site.services.len() < MOST_SERVICES / 2 {
            site.add_service(random);
        }
        site
    }

    /// As large as one can become.
    pub(super) fn largest(random: &mut Rng) -> Self {
        let mut site = Self { services: Vec::new() };
        while site.services.len() < MOST_SERVICES {
            site.add_service(random);
        }
        for service in &mut site.services {
            service.servers = std::iter::repeat_with(|| Server::random(random)).take(MOST_SERVERS).collect();
            service.tidy();
        }
        site
    }

    pub(super) fn services(&self) -> usize {
        self.services.len()
    }

    /// Makes one to four changes.
    pub(super) fn change(&mut self, random: &mut Rng) {
        for _ in 0..random.usize(1..=4) {
            self.change_once(random);
        }
    }

    fn change_once(&mut self, random: &mut Rng) {
        let few = self.services.len() < 5;
        if few || self.services.len() < MOST_SERVICES && random.u8(0..10) == 0 {
            return self.add_service(random);
        }
        let at = random.usize(0..self.services.len());
        if random.u8(0..10) == 0 {
            self.services.remove(at);
            return;
        }
        let Some(service) = self.services.get_mut(at) else { return };
        match random.u8(0..8) {
            0 if service.servers.len() < MOST_SERVERS => service.servers.push(Server::random(random)),
            1 if service.servers.len() > 1 => {
                service.servers.swap_remove(random.usize(0..service.servers.len()));
            }
            2 => service.scheduler = one_of(&SCHEDULERS, random),
            3 => service.quorum = random.u8(1..4),
            4 => service.sorry = !service.sorry,
            5 => service.persistent = !service.persistent,
            change => {
                let at = random.usize(0..service.servers.len());
                let Some(server) = service.servers.get_mut(at) else { return };
                match change {
                    6 => server.check = one_of(&CHECKS, random),
                    _ => server.weight = random.u8(..),
                }
            }
        }
        service.tidy();
    }

    fn add_service(&mut self, random: &mut Rng) {
        let number = random.u16(..);
        if self.services.iter().any(|service| service.number == number) {
            return;
        }
        let servers = (0..random.usize(1..=MOST_SERVERS)).map(|_| Server::random(random)).collect();
        let mut service = Service {
            number,
            scheduler: one_of(&SCHEDULERS, random),
            quorum: 1,
            sorry: random.bool(),
            persistent: random.bool(),
            servers,
        };
        service.tidy();
        self.services.push(service);
    }

    pub(super) fn configuration(&self) -> String {
        let mut text = String::new();
        for service in &self.services {
            service.write(&mut text);
        }
        text
    }
}

impl Service {
    /// Each server once.
    fn tidy(&mut self) {
        self.servers.sort_by_key(|server| server.number);
        self.servers.dedup_by_key(|server| server.number);
    }

    fn write(&self, text: &mut String) {
        let Self { number, scheduler, quorum, .. } = self;
        let [high, low] = number.to_be_bytes();
        // Writing to a string cannot fail.
        write!(
            text,
            "virtual_server 10.0.{high}.{low} 80 {{\n    delay_loop 5\n    lvs_sched {scheduler}\n    lvs_method NAT\n    \
             protocol TCP\n    quorum {quorum}\n"
        )
        .ok();
        if self.persistent {
            text.push_str("    persistence_timeout 60\n");
        }
        if self.sorry {
            text.push_str("    sorry_server 127.0.0.1 8080\n");
        }
        for Server { number, weight, check } in &self.servers {
            let [high, low] = number.to_be_bytes();
            let check = check.words();
            write!(
                text,
                "    real_server 127.2.{high}.{low} 80 {{\n        weight {weight}\n{check}    }}\n"
            )
            .ok();
        }
        text.push_str("}\n");
    }
}

impl Server {
    fn random(random: &mut Rng) -> Self {
        Self { number: random.u16(..), weight: random.u8(..), check: one_of(&CHECKS, random) }
    }
}

impl Check {
    fn words(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Tcp => "        TCP_CHECK {\n            connect_timeout 2\n        }\n",
            Self::Http => {
                "        HTTP_GET {\n            url {\n                path /a\n                status_code 200\n            \
                 }\n        }\n"
            }
            Self::Ssl => {
                "        SSL_GET {\n            enable_sni\n            url {\n                path /b\n                \
                 digest 9b3a0c85a887a256d6939da88aabd8cd\n            }\n        }\n"
            }
            Self::Smtp => "        SMTP_CHECK {\n            helo_name here\n        }\n",
            Self::Udp => "        UDP_CHECK {\n            payload 00ff\n        }\n",
        }
    }
}

/// Makes a mistake in a configuration; not each of them is one that is noticed.
pub(super) fn damage(text: &mut Vec<u8>, random: &mut Rng) {
    let at = random.usize(0..text.len());
    match random.u8(0..4) {
        0 => text.truncate(at),
        1 => {
            if let Some(byte) = text.get_mut(at) {
                *byte = random.u8(..);
            }
        }
        2 => text.extend_from_slice(b"virtual_server nowhere {\n"),
        _ => drop(text.splice(at..at, *b"} lvs_sched nosuch {")),
    }
}

fn one_of<T: Copy>(all: &[T], random: &mut Rng) -> T {
    all[random.usize(0..all.len())]
}
