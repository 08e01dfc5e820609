//! A director: keepalived or Buoy on a host between client and servers.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use buoy::api::{Status, client};
use buoy::lab::{Host, Process, Program};
use buoy_ipvs::kernel::ModuleLoading;
use buoy_ipvs::{
    KernelPlane, Plane, Protocol, RealServerId, ServiceId, Snapshot, Statistics, SyncDaemon, Table, Weight,
};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::server::{PORT, Server};
use crate::site::{SOON, Site, feed, ip, wait_until};

pub(crate) const BUOY: &str = env!("CARGO_BIN_EXE_buoy");

pub(crate) struct Director {
    pub(crate) host: Host,
    pub(crate) program: Program,
    folder: TempDir,
    runs: u32,
    process: Option<Process>,
    plane: Option<KernelPlane>,
}

/// This package's program.
pub(crate) fn buoy() -> Program {
    Program::Buoy(PathBuf::from(BUOY))
}

pub(crate) fn keepalived() -> Program {
    Program::keepalived().expect("keepalived is installed")
}

impl Director {
    /// The only director of a site, which has all virtual addresses. Its program does not run yet.
    pub(crate) fn new(site: &Site, program: Program) -> Self {
        let director = Self::at(site.router("director", 1), program);
        let mut script = String::new();
        for way in crate::site::Way::ALL {
            writeln!(script, "address add {}/32 dev eth0", way.vip()).expect("a string takes everything");
            writeln!(script, "address add {}/128 dev eth0 nodad", way.vip6())
                .expect("a string takes everything");
        }
        ip(&director.host, &script);
        director
    }

    /// A director on a host that is there.
    pub(crate) fn at(host: Host, program: Program) -> Self {
        let folder = tempfile::Builder::new().prefix("buoy-balancing-").tempdir().expect("a folder");
        Self { host, program, folder, runs: 0, process: None, plane: None }
    }

    pub(crate) fn is_buoy(&self) -> bool {
        matches!(self.program, Program::Buoy(_))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn configuration(&self) -> PathBuf {
        self.path("director.conf")
    }

    /// Where this run's files are: keepalived does not start over the pid file of a child that nobody has reaped.
    fn run_folder(&self) -> PathBuf {
        self.path(&format!("run{}", self.runs))
    }

    fn control(&self) -> PathBuf {
        self.run_folder().join("control")
    }

    /// Starts the program with this configuration.
    #[track_caller]
    pub(crate) fn start(&mut self, configuration: &str) {
        self.configure(configuration);
        self.start_again();
    }

    /// Starts the program with the configuration that it had.
    #[track_caller]
    pub(crate) fn start_again(&mut self) {
        let id = self.host.name().to_owned();
        self.start_as(&id);
    }

    /// Starts the program with this answer to `@id` conditions.
    #[track_caller]
    pub(crate) fn start_as(&mut self, id: &str) {
        self.runs += 1;
        let folder = self.run_folder();
        fs::create_dir(&folder).expect("a folder");
        let mut command = self.program.balancing_command(&self.configuration(), &folder, id);
        // Not to the system's log: where none runs, keepalived writes to the console instead.
        command.args(["-D", "-G"]);
        self.process = Some(self.host.spawn(command).expect("starting a director"));
    }

    pub(crate) fn configure(&self, configuration: &str) {
        // At once: a program that reads it meanwhile finds one or the other.
        let new = self.path("director.conf.new");
        fs::write(&new, configuration).expect("writing the configuration");
        fs::rename(new, self.configuration()).expect("the configuration in its place");
    }

    /// Has the program read another configuration.
    pub(crate) fn reload(&self, configuration: &str) {
        self.configure(configuration);
        self.process().signal(Signal::SIGHUP).expect("signalling");
    }

    /// Kills the program and its children as an out-of-memory killer would.
    pub(crate) fn kill(&mut self) {
        self.process.as_mut().expect("it was started").kill();
    }

    /// Stops the program in good order.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        let ended = self.process.as_mut().expect("it was started").stop(SOON);
        let status = ended.unwrap_or_else(|error| panic!("{error}: {}", self.story()));
        assert!(status.success(), "ended with {status}: {}", self.story());
    }

    /// An executable script.
    pub(crate) fn script(&self, name: &str, line: &str) -> String {
        let path = self.path(name);
        // Another program writes it: what is open for writing while another thread starts a program cannot be run.
        feed(
            &self.host,
            "sh",
            &["-c", "cat > \"$0\"", &path.display().to_string()],
            &format!("#!/bin/sh\n{line}\n"),
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("an executable file");
        path.display().to_string()
    }

    /// Waits until the program that was started last has read its configuration and works.
    #[track_caller]
    pub(crate) fn wait_until_it_runs(&self) {
        if self.is_buoy() {
            let control = self.control();
            wait_until(SOON, || client::status(&control).is_ok(), || self.story());
        } else {
            self.wait_for_log("Gained quorum");
        }
    }

    pub(crate) fn process(&self) -> &Process {
        self.process.as_ref().expect("it was started")
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.process.iter().flat_map(Process::log).map(|line| line.text).collect()
    }

    #[track_caller]
    pub(crate) fn wait_for_log(&self, text: &str) {
        self.process().wait_for_line(text, SOON).expect("a line of the log");
    }

    /// The kernel's IPVS on this host.
    fn plane<R: Send + 'static>(&mut self, work: impl FnOnce(&mut KernelPlane) -> R + Send + 'static) -> R {
        let plane = self.plane.take();
        let (plane, result) = self.host.run(move || {
            let mut plane = plane.unwrap_or_else(|| KernelPlane::open(ModuleLoading::Allowed).expect("IPVS"));
            let result = work(&mut plane);
            (plane, result)
        });
        self.plane = Some(plane);
        result
    }

    pub(crate) fn snapshot(&mut self) -> Snapshot {
        self.plane(|plane| plane.snapshot().expect("the table"))
    }

    pub(crate) fn table(&mut self) -> Table {
        self.snapshot().table
    }

    /// What the kernel has counted up to two seconds ago.
    pub(crate) fn statistics(&mut self) -> Statistics {
        self.plane(|plane| plane.statistics().expect("the counters"))
    }

    pub(crate) fn sync_daemons(&mut self) -> Vec<SyncDaemon> {
        self.plane(|plane| plane.sync_daemons().expect("the sync daemons"))
    }

    /// Waits until the table is as wanted; how long that took.
    #[track_caller]
    pub(crate) fn wait_for_table(
        &mut self,
        limit: Duration,
        what: &str,
        wanted: impl Fn(&Table) -> bool,
    ) -> Duration {
        let begun = Instant::now();
        while !wanted(&self.table()) {
            assert!(begun.elapsed() < limit, "{what} not within {limit:?}: {}", self.story());
            std::thread::sleep(Duration::from_millis(5));
        }
        begun.elapsed()
    }

    /// Waits until exactly these servers have a weight above zero in a service.
    #[track_caller]
    pub(crate) fn wait_for_servers(
        &mut self,
        service: ServiceId,
        servers: &[&Server],
        limit: Duration,
    ) -> Duration {
        let wanted: Vec<RealServerId> = servers.iter().map(|server| real(server)).collect();
        let names: Vec<&str> = servers.iter().map(|server| server.name.as_str()).collect();
        self.wait_for_table(limit, &format!("{names:?} in {service}"), |table| {
            serving(table, &service) == wanted
        })
    }

    pub(crate) fn ipvsadm(&self, arguments: &[&str]) -> String {
        feed(&self.host, "ipvsadm", arguments, "")
    }

    /// What `buoy status --json` prints.
    #[track_caller]
    pub(crate) fn status(&self) -> Status {
        let output = self.buoy(&["status", "--json"]);
        assert!(output.status.success(), "{output:?}: {}", self.story());
        serde_json::from_slice(&output.stdout).expect("a status")
    }

    /// Runs `buoy WORDS --control SOCKET`.
    pub(crate) fn buoy(&self, words: &[&str]) -> Output {
        Command::new(BUOY).args(words).arg("--control").arg(self.control()).output().expect("running buoy")
    }

    /// What is known about this director, for a test that fails.
    pub(crate) fn story(&self) -> String {
        let (host, program) = (self.host.name(), &self.program);
        let table = self.ipvsadm(&["-Ln"]);
        let connections = self.ipvsadm(&["-Lnc"]);
        format!(
            "{program:?} on {host}; its IPVS:\n{table}{connections}log:\n    {}",
            self.log().join("\n    ")
        )
    }
}

/// The servers of a service that get new connections, by address.
pub(crate) fn serving(table: &Table, service: &ServiceId) -> Vec<RealServerId> {
    let servers = table.entry(service).map(|entry| entry.servers.values());
    servers
        .into_iter()
        .flatten()
        .filter(|server| server.weight != Weight::ZERO)
        .map(|server| server.id)
        .collect()
}

/// A server as the director sees it over IPv4.
pub(crate) fn real(server: &Server) -> RealServerId {
    RealServerId { address: server.address, port: PORT }
}

pub(crate) fn tcp(address: SocketAddr) -> ServiceId {
    ServiceId::Address { protocol: Protocol::Tcp, address: address.ip(), port: address.port() }
}

pub(crate) fn udp(address: SocketAddr) -> ServiceId {
    ServiceId::Address { protocol: Protocol::Udp, address: address.ip(), port: address.port() }
}

/// A `virtual_server` block; `words` are its lines, `server_words` those of each of its servers.
pub(crate) fn virtual_server<'s>(
    head: &str,
    words: &str,
    servers: impl IntoIterator<Item = &'s Server>,
    server_words: impl Fn(usize) -> String,
) -> String {
    let mut text = format!("virtual_server {head} {{\n    {words}\n");
    let v6 = head.contains(':');
    for (number, server) in servers.into_iter().enumerate() {
        let address = if v6 { server.address6 } else { server.address };
        let words = server_words(number);
        writeln!(text, "    real_server {address} {PORT} {{\n        {words}\n    }}")
            .expect("a string takes everything");
    }
    text + "}\n"
}

/// Waits for a number of lines in a file that scripts write.
#[track_caller]
pub(crate) fn wait_for_lines(path: &Path, count: usize, story: impl FnOnce() -> String) -> Vec<String> {
    let lines = || -> Vec<String> {
        fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
    };
    wait_until(SOON, || lines().len() >= count, || format!("{count} lines, but {:?}; {}", lines(), story()));
    lines()
}
