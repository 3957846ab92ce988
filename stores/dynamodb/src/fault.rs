//! What does a failure of DynamoDB mean: to the caller, and to whoever decides about another try?

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use larder_base::ErrorKind;
use larder_remote::Turns;

/// One failure, before anybody decided whether to try again.
pub(crate) type Fault = larder_remote::Fault<Turn>;

/// What can be done about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The connection is gone; what was sent may have been done.
    Reconnect,
    /// Nothing came in time; what was sent may have been done, or may still be.
    Silent,
    /// Refused for now, and certainly not done.
    Later,
    /// The server failed; what was sent may have been done.
    Again,
    /// The condition of a write did not hold: a newer row is stored.
    Stale,
    /// There is no such table.
    NoTable,
    /// Somebody else makes or changes the table.
    InUse,
    /// Nothing here.
    Give,
}

impl Turns for Turn {
    const BACKEND: &'static str = "dynamodb";
    const RECONNECT: Self = Self::Reconnect;
    const SILENT: Self = Self::Silent;
    const GIVE: Self = Self::Give;

    fn passes(&self) -> bool {
        matches!(self, Self::Reconnect | Self::Silent | Self::Later | Self::Again)
    }
}

/// Keys or items were left over without a reason, which is throttling, or an answer that was full.
pub(crate) fn left_over() -> Fault {
    throttled("a part of the request was not processed")
}

/// An answer of a form that the request does not have.
pub(crate) fn odd(what: &'static str) -> Fault {
    Fault::new(
        Turn::Give,
        ErrorKind::Corrupt,
        what,
        "check that nobody else writes to the tables of this store",
    )
}

fn throttled(told: impl ToString) -> Fault {
    let fault = Fault::new(
        Turn::Later,
        ErrorKind::Overloaded,
        "dynamodb throttles requests",
        "raise the capacity of the table or use on-demand billing, send less, or give the call more time",
    );
    fault.told(told)
}

/// What the client said.
pub(crate) fn of_client<E>(error: &SdkError<E>) -> Fault
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match error {
        SdkError::ServiceError(refused) => {
            let status = refused.raw().status().as_u16();
            let refused = refused.err();
            of_code(
                refused.code().unwrap_or_default(),
                refused.message().unwrap_or_default(),
                status,
            )
        }
        SdkError::TimeoutError(_) => Fault::silent(),
        SdkError::ResponseError(answer) => of_status(answer.raw().status().as_u16()),
        SdkError::DispatchFailure(failure) => of_cause(error).unwrap_or_else(|| {
            let told = failure.as_connector_error().map_or_else(String::new, root);
            match failure.is_user() {
                true => refused_options(told),
                false => Fault::unreachable(told),
            }
        }),
        _ => of_cause(error).unwrap_or_else(|| refused_options(root(error))),
    }
}

/// What is wrong on this side, where the client says so somewhere in its chain of causes.
fn of_cause(error: &(dyn std::error::Error + 'static)) -> Option<Fault> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if cause.is::<CredentialsError>() {
            let fault = Fault::new(
                Turn::Give,
                ErrorKind::Config,
                "there are no credentials for dynamodb",
                "set `profile`, or `access_key_id` and `secret_access_key`, or use the usual chain of AWS (environment, \
                 shared files, web identity, container, instance)",
            );
            return Some(fault.told(root(cause)));
        }
        next = cause.source();
    }
    None
}

fn refused_options(told: impl ToString) -> Fault {
    let fault = Fault::new(
        Turn::Give,
        ErrorKind::Config,
        "the dynamodb client refuses its options",
        "check `region` and `endpoint` of the store, and the variables and files of AWS",
    );
    fault.told(told)
}

/// An answer without a word that is known.
fn of_status(status: u16) -> Fault {
    match status {
        500.. => Fault::new(
            Turn::Again,
            ErrorKind::Unavailable,
            "dynamodb fails",
            "try again in a moment; see the health of the service in its region",
        )
        .told(format!("HTTP {status}")),
        200..300 => Fault::broken("the answer ended early"),
        _ => Fault::new(
            Turn::Give,
            ErrorKind::Unavailable,
            "the endpoint sent what is no answer of dynamodb",
            "check that `endpoint` is that of DynamoDB, or of a server that speaks like it",
        )
        .told(format!("HTTP {status}")),
    }
}

/// What the server said, by its code; names of exceptions come with and without what stands before them.
fn of_code(code: &str, message: &str, status: u16) -> Fault {
    use ErrorKind::{Config, Conflict, Denied, Input, Internal, NotFound, Overloaded, Unavailable};
    let (turn, kind, what, help) = match code {
        "ConditionalCheckFailedException" => (
            Turn::Stale,
            Conflict,
            "a newer row is stored in dynamodb",
            "nothing is to be done",
        ),
        "ProvisionedThroughputExceededException"
        | "ThrottlingException"
        | "Throttling"
        | "RequestLimitExceeded"
        | "TooManyRequestsException"
        | "SlowDown" => return throttled(code),
        "LimitExceededException" => (
            Turn::Later,
            Overloaded,
            "dynamodb makes or changes too many tables at once",
            "try again later, or have the limit of the account raised",
        ),
        "TransactionConflictException" | "ReplicatedWriteConflictException" => (
            Turn::Later,
            Overloaded,
            "others write the same item of dynamodb",
            "try again",
        ),
        "ResourceNotFoundException" => (
            Turn::NoTable,
            NotFound,
            "there is no table in dynamodb for this project",
            "run `larder apply`, which makes it, and check `region`, `endpoint` and `table` of the store",
        ),
        "ResourceInUseException" => (
            Turn::InUse,
            Conflict,
            "the table in dynamodb is being changed",
            "try again when the table is active",
        ),
        "AccessDeniedException" | "AccessDenied" => (
            Turn::Give,
            Denied,
            "these credentials may not do this in dynamodb",
            "grant them what the documentation of this store lists under \"Rights\", for the tables of the store",
        ),
        "ExpiredTokenException" | "ExpiredToken" => (
            Turn::Give,
            Config,
            "the credentials for dynamodb have expired",
            "sign in again, or use a source of credentials that renews them",
        ),
        "RequestTimeTooSkewed" | "RequestExpired" => return skewed(message),
        "InvalidSignatureException" if message.contains("expired") || message.contains("not yet current") => {
            return skewed(message);
        }
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "IncompleteSignatureException"
        | "IncompleteSignature"
        | "MissingAuthenticationTokenException"
        | "MissingAuthenticationToken" => (
            Turn::Give,
            Config,
            "dynamodb refuses the credentials",
            "check the key, its secret and its session token, and that they belong to this region's partition of AWS",
        ),
        "ValidationException" if is_size(message) => (
            Turn::Give,
            Input,
            "an item is larger than the 400 KB that dynamodb takes",
            "use fewer or shorter features in the view",
        ),
        "ValidationException"
            if message.contains("does not match the schema")
                || message.contains("Type mismatch for key")
                || message.contains("Missing the key") =>
        {
            (
                Turn::Give,
                Config,
                "the table in dynamodb was not made by larder: it has another key",
                "choose another name with `table:`, or remove that table",
            )
        }
        "InaccessibleEncryptionCredentialsException" | "KMSAccessDeniedException" => (
            Turn::Give,
            Denied,
            "dynamodb may not use the key that encrypts the table",
            "restore the rights on the KMS key",
        ),
        _ if status >= 500 => (
            Turn::Again,
            Unavailable,
            "dynamodb fails",
            "try again in a moment; see the health of the service in its region",
        ),
        _ => (
            Turn::Give,
            Internal,
            "dynamodb refuses a request",
            "report it with this message",
        ),
    };
    let fault = Fault::new(turn, kind, what, help);
    match (code, message) {
        ("", "") => fault.told(format!("HTTP {status}")),
        (code, "") => fault.told(code),
        (code, message) => fault.told(format!("{code}: {}", one_line(message))),
    }
}

fn skewed(message: &str) -> Fault {
    let fault = Fault::new(
        Turn::Give,
        ErrorKind::Config,
        "the clock of this machine differs too much from that of dynamodb",
        "keep it in time (NTP)",
    );
    fault.told(one_line(message))
}

fn is_size(message: &str) -> bool {
    message.contains("size has exceeded")
        || message.contains("exceeds the maximum")
        || message.contains("maximum allowed size")
}

/// The last cause, which is the one that tells what happened.
fn root(error: &(impl std::error::Error + ?Sized)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = cause.to_string();
        next = cause.source();
    }
    one_line(&text)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use larder_base::Error;

    use super::*;

    #[test]
    fn codes_tell_what_to_do_next() {
        for (code, message, status, turn, kind) in [
            (
                "ConditionalCheckFailedException",
                "",
                400,
                Turn::Stale,
                ErrorKind::Conflict,
            ),
            (
                "ProvisionedThroughputExceededException",
                "",
                400,
                Turn::Later,
                ErrorKind::Overloaded,
            ),
            ("ThrottlingException", "", 400, Turn::Later, ErrorKind::Overloaded),
            (
                "RequestLimitExceeded",
                "",
                400,
                Turn::Later,
                ErrorKind::Overloaded,
            ),
            (
                "ResourceNotFoundException",
                "",
                400,
                Turn::NoTable,
                ErrorKind::NotFound,
            ),
            (
                "ResourceInUseException",
                "",
                400,
                Turn::InUse,
                ErrorKind::Conflict,
            ),
            ("AccessDeniedException", "", 400, Turn::Give, ErrorKind::Denied),
            (
                "UnrecognizedClientException",
                "",
                400,
                Turn::Give,
                ErrorKind::Config,
            ),
            ("ExpiredTokenException", "", 400, Turn::Give, ErrorKind::Config),
            (
                "InternalServerError",
                "",
                500,
                Turn::Again,
                ErrorKind::Unavailable,
            ),
            ("", "", 503, Turn::Again, ErrorKind::Unavailable),
            (
                "ValidationException",
                "Item size has exceeded the maximum allowed size",
                400,
                Turn::Give,
                ErrorKind::Input,
            ),
            (
                "ValidationException",
                "The provided key element does not match the schema",
                400,
                Turn::Give,
                ErrorKind::Config,
            ),
            (
                "ValidationException",
                "something new",
                400,
                Turn::Give,
                ErrorKind::Internal,
            ),
        ] {
            let fault = of_code(code, message, status);
            assert_eq!((fault.turn, fault.kind()), (turn, kind), "{code} {message}");
        }
    }

    #[test]
    fn a_wrong_clock_is_told_from_a_wrong_secret() {
        let told = |message| Error::from(of_code("InvalidSignatureException", message, 400)).chain();
        assert!(told("Signature expired: 1 is now earlier than 2").contains("clock"));
        assert!(told("Signature not yet current: 2 is still later").contains("clock"));
        assert!(
            told("The request signature we calculated does not match").contains("refuses the credentials")
        );
    }

    #[test]
    fn errors_are_one_line() {
        let told = Error::from(of_code("AccessDeniedException", "User: x\nmay not", 400)).chain();
        assert!(told.ends_with("AccessDeniedException: User: x may not"), "{told}");
    }

    #[test]
    fn what_is_left_over_may_be_tried_again() {
        assert!(left_over().passes() && left_over().is_passing());
        assert!(of_status(502).passes() && !of_status(404).passes());
    }
}
