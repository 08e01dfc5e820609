use thiserror::Error;

/// A command line that is no command of ipvsadm.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum Mistake {
    #[error("unknown option `{0}`")]
    UnknownOption(String),
    #[error("option `{0}` needs a value")]
    MissingValue(String),
    #[error("option `{0}` takes no value")]
    ValueOfNone(String),
    #[error("the first option has to say what to do: -A, -L, -S, ...")]
    NoCommand,
    #[error("-R cannot be among the lines that it reads")]
    RestoreWithin,
    #[error("`{0}` is a second command; there can be one")]
    SecondCommand(String),
    #[error("`{0}` belongs to no option")]
    Stray(String),
    #[error("{0} is given more than once")]
    Twice(&'static str),
    #[error("{what} has no meaning with --{verb}")]
    Meaningless { what: &'static str, verb: &'static str },
    #[error("--{verb} needs {what}")]
    Missing { what: &'static str, verb: &'static str },
    #[error("{0} and {1} exclude each other")]
    Conflict(&'static str, &'static str),
    #[error("`{value}` is no {what}; {wanted}")]
    Value { what: &'static str, value: String, wanted: &'static str },
    #[error("-6 is for a mark and stands behind it: -f 7 -6")]
    Ipv6WithoutMark,
    #[error("port 0, which stands for every port, needs persistence (-p)")]
    PortZero,
    #[error("one-packet scheduling (-o) is for UDP and marks")]
    OnePacketOfOther,
    #[error("scheduler flag `{flag}` is not one of scheduler `{scheduler}`")]
    FlagOfOther { flag: String, scheduler: String },
    #[error("{0}")]
    NoScheduler(#[from] buoy_ipvs::UnknownScheduler),
    #[error("a persistence engine (--pe) needs persistence (-p)")]
    EngineAlone,
    #[error("only a tunnel (-i) reaches a real server of the other address family")]
    MixedFamily,
    #[error("{option} is for tunnels (-i)")]
    NoTunnel { option: &'static str },
    #[error("{option} has no meaning for tunnel type {tunnel}")]
    OtherTunnel { option: &'static str, tunnel: &'static str },
    #[error("tunnel type gue needs --tun-port")]
    NoTunnelPort,
    #[error("--set needs three timeouts in seconds: tcp tcpfin udp")]
    ThreeTimeouts,
}

impl Mistake {
    /// ipvsadm's exit status: 255 where it does not know the words or the scheduler, 2 where they make no sense.
    pub(super) const fn status(&self) -> u8 {
        match self {
            Self::UnknownOption(_)
            | Self::MissingValue(_)
            | Self::ValueOfNone(_)
            | Self::NoCommand
            | Self::RestoreWithin
            | Self::NoScheduler(_) => 255,
            _ => 2,
        }
    }
}
