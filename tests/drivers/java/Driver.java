// pgjdbc. tests/support/drivers.py asks; driver.py describes the requests.
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

public final class Driver {
    static final int ROUNDS = 6; // pgjdbc prepares a statement at its fifth execution

    interface Work {
        void run(Connection connection) throws SQLException;
    }

    // docs: pgjdbc
    /** One connection to the database, opened again when it breaks. */
    static final class Database {
        final String url;
        Connection connection;
        int retries; // (test)

        Database(String url) {
            this.url = url;
        }

        /** Run one transaction, and again if the primary changes meanwhile: the work can happen twice. */
        void run(Work work, long seconds) throws SQLException, InterruptedException {
            long deadline = System.nanoTime() + seconds * 1_000_000_000L;
            while (true) {
                try {
                    if (connection == null) {
                        connection = DriverManager.getConnection(url);
                        connection.setAutoCommit(false);
                    }
                    work.run(connection);
                    connection.commit();
                    return;
                } catch (SQLException error) {
                    close();
                    if (!passes(error) || System.nanoTime() > deadline) {
                        throw error;
                    }
                    retries++; // (test)
                    Thread.sleep(200);
                }
            }
        }

        /** Whether the connection broke, the server stops or starts, or has just become a replica. */
        static boolean passes(SQLException error) {
            String state = String.valueOf(error.getSQLState());
            return state.startsWith("08") || state.startsWith("57P") || state.equals("25006");
        }

        void close() {
            try {
                if (connection != null) {
                    connection.close();
                }
            } catch (SQLException ignored) {
                // it is broken already
            }
            connection = null;
        }
    }

    // docs: end

    static void add(Connection connection, int number) throws SQLException {
        add(connection.prepareStatement("SELECT ?::int + 1"), number);
    }

    static void add(PreparedStatement statement, int number) throws SQLException {
        statement.setInt(1, number);
        try (ResultSet rows = statement.executeQuery()) {
            rows.next();
            if (rows.getInt(1) != number + 1) {
                throw new SQLException("asked for " + number + " + 1, got " + rows.getInt(1));
            }
        }
    }

    static String check(String url) throws SQLException {
        try (Connection one = DriverManager.getConnection(url);
                Connection two = DriverManager.getConnection(url)) {
            PreparedStatement[] pair = {
                one.prepareStatement("SELECT ?::int + 1"), two.prepareStatement("SELECT ?::int + 1")
            };
            for (int number = 0; number < ROUNDS; number++) {
                for (PreparedStatement statement : pair) {
                    add(statement, number);
                }
            }
            try (ResultSet rows = one.createStatement()
                    .executeQuery("SELECT current_user, pg_is_in_recovery()")) {
                rows.next();
                return rows.getString(1) + " " + rows.getBoolean(2);
            }
        }
    }

    static final class Opened {
        final String url;
        Connection connection;

        Opened(String url) throws SQLException {
            this.url = url;
            connection = DriverManager.getConnection(url);
            add(connection, 1);
        }

        String use() throws SQLException {
            try {
                add(connection, 1);
                return "same connection";
            } catch (SQLException error) {
                connection = DriverManager.getConnection(url);
                add(connection, 1);
                return "opened again after: " + error.getMessage();
            }
        }
    }

    static final class Load {
        final List<Thread> threads = new ArrayList<>();
        volatile boolean ended;
        int rows;
        int retries;
        int errors;
        double stall;
        String message = "";

        Load(String url, String table, int workers) {
            String query = "INSERT INTO " + table + " VALUES ('pgjdbc', ?, ?) ON CONFLICT DO NOTHING";
            for (int worker = 0; worker < workers; worker++) {
                int own = worker;
                Thread thread = new Thread(() -> work(url, query, own));
                threads.add(thread);
                thread.start();
            }
        }

        void work(String url, String query, int worker) {
            Database database = new Database(url);
            int done = 0;
            long last = System.nanoTime();
            double longest = 0;
            for (int number = 1; !ended; number++) {
                int own = number;
                try {
                    database.run(connection -> {
                        try (PreparedStatement statement = connection.prepareStatement(query)) {
                            statement.setInt(1, worker);
                            statement.setInt(2, own);
                            statement.executeUpdate();
                        }
                    }, 60);
                    done++;
                    longest = Math.max(longest, (System.nanoTime() - last) / 1e9);
                    last = System.nanoTime();
                    Thread.sleep(20);
                } catch (SQLException error) {
                    synchronized (this) {
                        errors++;
                        message = error.getMessage();
                    }
                } catch (InterruptedException error) {
                    break;
                }
            }
            database.close();
            synchronized (this) {
                rows += done;
                retries += database.retries;
                stall = Math.max(stall, longest);
            }
        }

        String stop() throws InterruptedException {
            ended = true;
            for (Thread thread : threads) {
                thread.join();
            }
            return String.format("%d %d %d %.2f %s", rows, retries, errors, stall, message);
        }
    }

    static final Map<String, Opened> OPENED = new HashMap<>();
    static final Map<String, Load> LOADS = new HashMap<>();

    static String answer(String[] words) throws Exception {
        switch (words[0]) {
            case "check":
                return check(words[2]);
            case "open":
                OPENED.put(words[1], new Opened(words[3]));
                return "opened";
            case "close":
                Opened kept = OPENED.remove(words[1]);
                try {
                    return kept.use();
                } finally {
                    kept.connection.close();
                }
            case "load":
                LOADS.put(words[1], new Load(words[3], words[4], Integer.parseInt(words[5])));
                return "started";
            case "stop":
                return LOADS.remove(words[1]).stop();
            default:
                throw new IllegalArgumentException(words[0]);
        }
    }

    public static void main(String[] arguments) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String text;
            try {
                text = "ok\t" + answer(line.split("\t", -1));
            } catch (Exception error) {
                text = "error\t" + error;
            }
            System.out.println(text.replaceAll("\\s*\n\\s*", " "));
        }
    }
}
