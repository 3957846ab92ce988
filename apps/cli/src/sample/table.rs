//! Which views and features does the sample data have?

use larder::ValueType;

/// A view of the sample data: one source, one folder of Parquet files.
#[derive(Debug, Clone)]
pub(crate) struct SampleView {
    /// Name of the view.
    pub(crate) name: &'static str,
    /// Name of the source, and of its folder below `data/`.
    pub(crate) source: &'static str,
    /// What the view is.
    pub(crate) description: &'static str,
    /// Its entities.
    pub(crate) entities: &'static [&'static str],
    /// Its join keys; all are `int64`.
    pub(crate) keys: &'static [&'static str],
    /// Its ttl, as it stands in the YAML.
    pub(crate) ttl: Option<&'static str>,
    /// How old the newest materialized row may be.
    pub(crate) freshness: &'static str,
    /// Its features.
    pub(crate) features: Vec<Feature>,
}

/// A feature and how its values are made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Feature {
    /// Name of feature and column.
    pub(crate) name: &'static str,
    /// How values are made; decides the type.
    pub(crate) make: Make,
    /// Nulls in a thousand rows.
    pub(crate) nulls: u32,
    /// What it is.
    pub(crate) description: &'static str,
}

/// How the values of a feature are made. Each value follows its key and varies from row to row.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Make {
    /// `int64`, around a mean that depends on the key.
    Count(i64),
    /// `int32`, likewise.
    Small(i32),
    /// `float64` with two digits after the point, around a mean that depends on the key.
    Money(f64),
    /// `float64` between 0 and 1.
    Share,
    /// `float32` between 0 and 5.
    Rating,
    /// `string`, one of a few; mostly the same for one key.
    Choice(&'static [&'static str]),
    /// `bool`, true in so many of a hundred rows.
    Flag(u32),
    /// `timestamp`, up to so many hours before the event.
    Before(i64),
}

impl Make {
    /// The declared type.
    pub(crate) fn value_type(self) -> ValueType {
        match self {
            Self::Count(_) => ValueType::INT64,
            Self::Small(_) => ValueType::INT32,
            Self::Money(_) | Self::Share => ValueType::FLOAT64,
            Self::Rating => ValueType::FLOAT32,
            Self::Choice(_) => ValueType::STRING,
            Self::Flag(_) => ValueType::BOOL,
            Self::Before(_) => ValueType::TIMESTAMP,
        }
    }
}

const fn feature(name: &'static str, make: Make, nulls: u32, description: &'static str) -> Feature {
    Feature {
        name,
        make,
        nulls,
        description,
    }
}

use Make::{Before, Choice, Count, Flag, Money, Rating, Share, Small};

const COUNTRIES: &[&str] = &["SE", "DE", "FR", "GB", "US", "PL", "ES", "NL"];
const SEGMENTS: &[&str] = &["new", "casual", "regular", "loyal"];
const DEVICES: &[&str] = &["ios", "android", "desktop"];
const CATEGORIES: &[&str] = &["books", "garden", "kitchen", "sport", "toys", "music"];
const BRANDS: &[&str] = &["acme", "globex", "initech", "umbra", "vandelay"];
const CHANNELS: &[&str] = &["search", "mail", "ad", "direct"];

/// The three views of the demo: 50 features.
pub(crate) fn demo_views() -> Vec<SampleView> {
    vec![user_stats(), product_stats(), transaction_stats()]
}

/// The two short views of `larder init`.
pub(crate) fn starter_views() -> Vec<SampleView> {
    let wanted = |view: SampleView, names: &[&str]| SampleView {
        features: names
            .iter()
            .filter_map(|name| view.features.iter().find(|f| f.name == *name).copied())
            .collect(),
        ..view
    };
    vec![
        wanted(
            user_stats(),
            &[
                "orders_7d",
                "orders_30d",
                "avg_basket",
                "country",
                "newsletter",
                "last_order_at",
            ],
        ),
        wanted(
            product_stats(),
            &["sold_7d", "price", "rating", "category", "in_stock"],
        ),
    ]
}

fn user_stats() -> SampleView {
    SampleView {
        name: "user_stats",
        source: "user_daily",
        description: "What a user bought and did, once a day",
        entities: &["user"],
        keys: &["user_id"],
        ttl: Some("14d"),
        freshness: "1d",
        features: vec![
            feature("orders_7d", Count(3), 0, "Orders in the last 7 days"),
            feature("orders_30d", Count(12), 0, "Orders in the last 30 days"),
            feature("items_30d", Count(31), 0, "Items bought in the last 30 days"),
            feature("returns_30d", Small(2), 5, "Items sent back in the last 30 days"),
            feature("sessions_7d", Count(9), 0, "Visits in the last 7 days"),
            feature("pages_7d", Count(70), 0, "Pages looked at in the last 7 days"),
            feature("searches_7d", Small(14), 10, "Searches in the last 7 days"),
            feature("avg_basket", Money(54.0), 20, "Mean value of an order"),
            feature("max_basket", Money(160.0), 20, "Largest order of all time"),
            feature("spent_30d", Money(640.0), 0, "Money spent in the last 30 days"),
            feature("discount_share", Share, 15, "Share of orders with a discount"),
            feature("night_share", Share, 0, "Share of visits between 22 and 6"),
            feature("refund_rate", Share, 30, "Share of orders paid back"),
            feature("mean_rating", Rating, 40, "Mean of the ratings given"),
            feature("country", Choice(COUNTRIES), 2, "Country of the account"),
            feature(
                "segment",
                Choice(SEGMENTS),
                0,
                "Segment that marketing put the user in",
            ),
            feature("device", Choice(DEVICES), 8, "Device used most"),
            feature("newsletter", Flag(35), 0, "Whether the user reads the newsletter"),
            feature("verified", Flag(80), 0, "Whether the mail address is verified"),
            feature("last_order_at", Before(700), 25, "When the last order was placed"),
        ],
    }
}

fn product_stats() -> SampleView {
    SampleView {
        name: "product_stats",
        source: "product_daily",
        description: "How a product sells, once a day",
        entities: &["product"],
        keys: &["product_id"],
        ttl: None,
        freshness: "1d",
        features: vec![
            feature("sold_7d", Count(42), 0, "Pieces sold in the last 7 days"),
            feature("sold_30d", Count(180), 0, "Pieces sold in the last 30 days"),
            feature("views_7d", Count(900), 0, "Times looked at in the last 7 days"),
            feature("carts_7d", Count(77), 0, "Times put into a cart"),
            feature("stock", Small(240), 0, "Pieces in stock"),
            feature("price", Money(38.0), 0, "Price now"),
            feature("list_price", Money(45.0), 60, "Price before reductions"),
            feature("margin", Share, 0, "Share of the price that stays"),
            feature("conversion", Share, 10, "Share of those who look that buy"),
            feature("return_rate", Share, 20, "Share of pieces sent back"),
            feature("rating", Rating, 50, "Mean rating"),
            feature("category", Choice(CATEGORIES), 0, "Category in the shop"),
            feature("brand", Choice(BRANDS), 15, "Brand"),
            feature("in_stock", Flag(92), 0, "Whether it can be sent today"),
            feature("restocked_at", Before(500), 30, "When it last came in"),
        ],
    }
}

fn transaction_stats() -> SampleView {
    SampleView {
        name: "transaction_stats",
        source: "transactions",
        description: "What one user did with one product, at each transaction",
        entities: &["user", "product"],
        keys: &["product_id", "user_id"],
        ttl: Some("30d"),
        freshness: "1h",
        features: vec![
            feature(
                "tx_count",
                Count(2),
                0,
                "Transactions of this user with this product",
            ),
            feature("tx_quantity", Small(3), 0, "Pieces in this transaction"),
            feature("tx_amount", Money(72.0), 0, "Value of this transaction"),
            feature("tx_mean_amount", Money(61.0), 12, "Mean value of them all"),
            feature("tx_discount", Money(6.0), 0, "Discount given"),
            feature("tx_shipping", Money(4.9), 8, "Cost of sending it"),
            feature("tx_risk", Share, 0, "Score of the payment provider"),
            feature(
                "tx_basket_share",
                Share,
                0,
                "Share of the basket that this product was",
            ),
            feature("tx_pages_before", Count(6), 0, "Pages looked at before buying"),
            feature("tx_seconds", Count(340), 5, "Seconds from first page to payment"),
            feature("tx_channel", Choice(CHANNELS), 0, "Where the user came from"),
            feature("tx_device", Choice(DEVICES), 4, "Device used"),
            feature("tx_gift", Flag(7), 0, "Whether it was a gift"),
            feature("tx_returned", Flag(5), 100, "Whether it came back"),
            feature(
                "tx_first_view_at",
                Before(90),
                18,
                "When the user first looked at it",
            ),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_has_fifty_features_with_names_of_their_own() {
        let views = demo_views();
        let mut names: Vec<&str> = views
            .iter()
            .flat_map(|view| view.features.iter().map(|f| f.name))
            .collect();
        assert_eq!(names.len(), 50);
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 50);
    }

    #[test]
    fn the_starter_has_all_features_it_names() {
        let counts: Vec<usize> = starter_views().iter().map(|view| view.features.len()).collect();
        assert_eq!(counts, [6, 5]);
    }
}
