//! Where tables come from.

use std::fs::File;
use std::io::{self, BufRead, BufReader};

use buoy_ipvs::{KernelPlane, ListedService, Plane, PlaneError, PlaneInfo};

use super::connections::Connection;

/// There is no netlink command for connections.
const CONNECTIONS: &str = "/proc/thread-self/net/ip_vs_conn";

/// A plane that shows all it has: the kernel's IPVS, in the network namespace of the thread.
pub(super) trait Source: Plane {
    /// What the plane says of itself.
    fn plane_info(&mut self) -> Result<PlaneInfo, PlaneError>;

    /// All services with their servers and counters, in the plane's own order.
    fn services(&mut self) -> Result<Vec<ListedService>, PlaneError>;

    /// Hands every connection to `each`, in the plane's own order, until there is an error.
    fn connections(&mut self, each: &mut dyn FnMut(&Connection) -> io::Result<()>) -> io::Result<()>;
}

impl Source for KernelPlane {
    fn plane_info(&mut self) -> Result<PlaneInfo, PlaneError> {
        self.info()
    }

    fn services(&mut self) -> Result<Vec<ListedService>, PlaneError> {
        self.listing()
    }

    fn connections(&mut self, each: &mut dyn FnMut(&Connection) -> io::Result<()>) -> io::Result<()> {
        let mut lines = BufReader::new(File::open(CONNECTIONS)?);
        let mut line = Vec::new();
        // What engines know of a connection need not be text.
        while lines.read_until(b'\n', &mut line)? != 0 {
            if let Some(connection) = Connection::parse(&String::from_utf8_lossy(&line)) {
                each(&connection)?;
            }
            line.clear();
        }
        Ok(())
    }
}
