mod counters;
mod golden;
mod module;
mod refusals;
mod sync;
mod table;
mod without_ipv6;
