//! What does the URL of a server say, and what is wrong with it, told without what may be a secret?

use larder_base::Result;
use larder_base::error::Error;
use larder_remote::is_local;
use tokio_postgres::Config;
use tokio_postgres::config::Host;

use crate::config::PLUGIN;

/// Values of `sslmode`: all of those that encrypt verify, too.
const MODES: [&str; 5] = ["disable", "prefer", "require", "verify-ca", "verify-full"];

/// Reads a URL.
///
/// # Errors
/// `Config`, with the names of options and never with a value: a special character in a password makes any part of it look
/// like another part of the URL.
pub(crate) fn parse(url: &str) -> Result<Config> {
    let refused = |what: &'static str| Error::config(what).help(PLUGIN.example);
    let rest = url
        .strip_prefix("postgresql://")
        .or_else(|| url.strip_prefix("postgres://"))
        .ok_or_else(|| refused("`url` of a Postgres store is no postgresql:// URL"))?;
    check_password(rest)?;
    check_options(rest)?;
    // Certificates and names are always verified here; the client knows no word for it.
    let url = url
        .replace("sslmode=verify-full", "sslmode=require")
        .replace("sslmode=verify-ca", "sslmode=require");
    let client: Config = url.parse().map_err(|error: tokio_postgres::Error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        let wrong = |option: &str| {
            let told = format!("invalid value for option `{option}`");
            cause.as_deref() == Some(told.as_str())
        };
        // What else the client says may repeat a part of the URL.
        match (wrong("port"), wrong("host")) {
            (true, _) => refused("`url` of a Postgres store has a port that is no number from 1 to 65535"),
            (_, true) => refused("`url` of a Postgres store has a host that cannot be understood"),
            _ => refused("`url` of a Postgres store cannot be understood"),
        }
    })?;
    if client.get_hosts().is_empty() {
        return Err(refused("`url` of a Postgres store names no host"));
    }
    check_hosts(&client)?;
    Ok(client)
}

/// Refuses hosts of other machines without TLS.
///
/// # Errors
/// `Config`.
pub(crate) fn check_plaintext(client: &Config) -> Result<()> {
    let remote = client.get_hosts().iter().find_map(|host| match host {
        Host::Tcp(name) if !is_local(name) => Some(name),
        _ => None,
    });
    let address = client
        .get_hostaddrs()
        .iter()
        .any(|address| !address.is_loopback());
    if remote.is_none() && !address {
        return Ok(());
    }
    let error = Error::config("features would travel to Postgres without TLS");
    let error = match remote {
        Some(name) => error.with("host", name),
        None => error,
    };
    Err(error.help("add `tls: {}` (or sslmode=require to the URL), or set `allow_plaintext: true` where the network is trusted"))
}

fn unescaped() -> Error {
    Error::config("`url` of a Postgres store has a special character where none can be")
        .help("percent-encode user and password in it (`@` is %40, `/` is %2F, `?` is %3F, `%` is %25), or use `username` and `password`")
}

/// Refuses a URL that the client would cut in the middle of a password: it takes the first `@` for its end.
fn check_password(rest: &str) -> Result<()> {
    let Some((before, behind)) = rest.split_once('@') else {
        return Ok(());
    };
    let (authority, _) = behind.split_once('?').unwrap_or((behind, ""));
    // Among the options it is part of a password, and what follows it would be taken for the host.
    match before.starts_with('/') || before.contains('?') || authority.contains('@') {
        true => Err(unescaped()),
        false => Ok(()),
    }
}

fn check_options(rest: &str) -> Result<()> {
    let behind = rest.split_once('@').map_or(rest, |(_, behind)| behind);
    let Some((_, query)) = behind.split_once('?') else {
        return Ok(());
    };
    for option in query.split('&').filter(|option| !option.is_empty()) {
        // Values of real options are escaped, so this one is a piece of a password.
        let (name, value) = option.split_once('=').ok_or_else(unescaped)?;
        if option.contains('@')
            || !name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        {
            return Err(unescaped());
        }
        let wrong = Error::config("`url` of a Postgres store has an option that cannot be used");
        let wrong = match query.contains("password=") {
            // Behind a `&` in a password stands another piece of it.
            true => wrong,
            false => wrong.with("option", name),
        };
        match name {
            "sslmode" if !MODES.contains(&value) => {
                return Err(wrong.help(format!("it is one of {}", MODES.join(", "))));
            }
            "sslrootcert" | "sslcert" | "sslkey" => {
                return Err(wrong.help("use `tls: { ca, cert, key }` of the store"));
            }
            _ if !known(name) => {
                return Err(
                    wrong.help("remove it; what can be chosen are options of the store in `larder.yaml`")
                );
            }
            _ => {}
        }
    }
    Ok(())
}

/// Options that the client knows.
fn known(name: &str) -> bool {
    let names = [
        "user",
        "password",
        "dbname",
        "options",
        "application_name",
        "sslmode",
        "sslnegotiation",
        "host",
        "hostaddr",
        "port",
        "connect_timeout",
        "tcp_user_timeout",
        "target_session_attrs",
        "channel_binding",
        "load_balance_hosts",
    ];
    names.contains(&name) || name.starts_with("keepalives")
}

/// Refuses what is no name or number of a host: it would be told, and asked for by name.
fn check_hosts(client: &Config) -> Result<()> {
    let wrong = client.get_hosts().iter().any(|host| match host {
        Host::Tcp(name) => !is_host(name),
        #[cfg(unix)]
        Host::Unix(_) => false,
    });
    match wrong {
        true => Err(unescaped()),
        false => Ok(()),
    }
}

fn is_host(name: &str) -> bool {
    // An address of IPv6 may name its interface.
    let (address, _) = name.split_once('%').unwrap_or((name, ""));
    let is_six = address.parse::<std::net::Ipv6Addr>().is_ok();
    let special = |char: char| char.is_whitespace() || char.is_control() || "@:%/?#[]".contains(char);
    is_six || !name.contains(special)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> String {
        match parse(url) {
            Ok(_) => panic!("nobody refused {url}"),
            Err(error) => error.chain(),
        }
    }

    #[test]
    fn good_urls_are_read() {
        for url in [
            "postgres://me:p%40ss@h/x",
            "postgresql://me:p/w@h/x",
            "postgresql://me@[::1]:5/x?sslmode=prefer&application_name=a",
            "postgresql://me@a,b:6000/x?target_session_attrs=read-write&keepalives_idle=3",
            "postgresql:///x?host=/run/postgresql&user=me",
            "postgresql://me%40corp:x@h/x?options=-c%20work_mem%3D8MB",
        ] {
            parse(url).expect(url);
        }
        let client = parse("postgresql://me@[fe80::1%25eth0]/x").expect("an interface");
        assert_eq!(client.get_hosts(), [Host::Tcp("fe80::1%eth0".to_owned())]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (url, part) in [
            ("postgresql://me:a@b@h/x", "%40"),
            ("postgresql:///x?user=me@corp&host=/run", "%40"),
            ("postgresql://me@h/x?sslrootcert=ca.pem", "tls: { ca"),
            ("postgresql://me@h/x?sslmode=verify", "verify-full"),
            ("postgresql://me@h/x?foo=bar", "option=foo"),
            ("postgresql://me@h:99999/x", "port"),
            ("postgresql://me@h:x/x", "port"),
            ("postgresql:///x?user=me", "no host"),
        ] {
            let told = refused(url);
            assert!(told.contains(part) && !told.contains("bar"), "{url}: {told}");
        }
    }
}
