// sqlx. tests/support/drivers.py asks; driver.py describes the requests.
use sqlx::{Connection, PgConnection, Row};
use std::collections::HashMap;
use std::error::Error;
use std::io::BufRead;

const ROUNDS: i32 = 6;

async fn add(connection: &mut PgConnection, number: i32) -> Result<(), sqlx::Error> {
    let row = sqlx::query("SELECT $1::int + 1").bind(number).fetch_one(connection).await?;
    assert_eq!(row.get::<i32, _>(0), number + 1);
    Ok(())
}

async fn check(uri: &str) -> Result<String, Box<dyn Error>> {
    let mut one = PgConnection::connect(uri).await?;
    let mut two = PgConnection::connect(uri).await?;
    for number in 0..ROUNDS {
        add(&mut one, number).await?;
        add(&mut two, number).await?;
    }
    let query = "SELECT current_user::text, pg_is_in_recovery()";
    let row = sqlx::query(query).fetch_one(&mut one).await?;
    let answer = format!("{} {}", row.get::<String, _>(0), row.get::<bool, _>(1));
    one.close().await?;
    two.close().await?;
    Ok(answer)
}

async fn used(kept: &mut (String, PgConnection)) -> Result<String, Box<dyn Error>> {
    let Err(error) = add(&mut kept.1, 1).await else {
        return Ok("same connection".into());
    };
    kept.1 = PgConnection::connect(&kept.0).await?;
    add(&mut kept.1, 1).await?;
    Ok(format!("opened again after: {error}"))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut opened: HashMap<String, (String, PgConnection)> = HashMap::new();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split('\t').collect();
        let answer: Result<String, Box<dyn Error>> = match words[0] {
            "check" => check(words[2]).await,
            "open" => match PgConnection::connect(words[3]).await {
                Ok(mut connection) => {
                    add(&mut connection, 1).await?;
                    opened.insert(words[1].into(), (words[3].into(), connection));
                    Ok("opened".into())
                }
                Err(error) => Err(error.into()),
            },
            "close" => match opened.remove(words[1]) {
                Some(mut kept) => used(&mut kept).await,
                None => Err("not opened".into()),
            },
            verb => Err(verb.into()),
        };
        match answer {
            Ok(text) => println!("ok\t{}", text.replace('\n', " ")),
            Err(error) => println!("error\t{}", error.to_string().replace('\n', " ")),
        }
    }
    Ok(())
}
