//! Sync daemons of the engine, a master and a backup in network namespaces of their own: what is told on one side of a
//! wire is heard on the other. They need root to make the wire, and say so when they have to be skipped.

mod bench;
mod host;
mod hostile;
mod wire;
