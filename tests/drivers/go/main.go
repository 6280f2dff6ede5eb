// pgx. tests/support/drivers.py asks; driver.py describes the requests.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

const rounds, pause = 6, 20 * time.Millisecond

var retries = map[*pgxpool.Pool]int{}
var counting sync.Mutex

// docs: pgx
// run runs one transaction, and again if the primary changes meanwhile: work can happen twice.
// ctx limits the time.
func run(ctx context.Context, pool *pgxpool.Pool, work func(pgx.Tx) error) error {
	for {
		err := pgx.BeginFunc(ctx, pool, work)
		if err == nil || ctx.Err() != nil || !passes(err) {
			return err
		}
		retried(pool) // (test)
		select {
		case <-ctx.Done():
			return err
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// passes reports whether an error can be over at the next attempt: the connection broke, the server
// stops or starts, or it has just become a replica.
func passes(err error) bool {
	var refused *pgconn.PgError
	if !errors.As(err, &refused) {
		return true
	}
	return strings.HasPrefix(refused.Code, "08") || strings.HasPrefix(refused.Code, "57P") ||
		refused.Code == "25006"
}

// docs: end

func retried(pool *pgxpool.Pool) {
	counting.Lock()
	defer counting.Unlock()
	retries[pool]++
}

func add(ctx context.Context, connection *pgx.Conn, number int) error {
	var got int
	if err := connection.QueryRow(ctx, "SELECT $1::int + 1", number).Scan(&got); err != nil {
		return err
	}
	if got != number+1 {
		return fmt.Errorf("asked for %d + 1, got %d", number, got)
	}
	return nil
}

func check(ctx context.Context, address string) (string, error) {
	var pair []*pgx.Conn
	for range 2 {
		connection, err := pgx.Connect(ctx, address)
		if err != nil {
			return "", err
		}
		defer connection.Close(ctx)
		pair = append(pair, connection)
	}
	for number := range rounds {
		for _, connection := range pair {
			if err := add(ctx, connection, number); err != nil {
				return "", err
			}
		}
	}
	var user string
	var recovers bool
	err := pair[0].QueryRow(ctx, "SELECT current_user, pg_is_in_recovery()").Scan(&user, &recovers)
	return fmt.Sprintf("%s %t", user, recovers), err
}

type opened struct {
	address    string
	connection *pgx.Conn
}

func (o *opened) use(ctx context.Context) (string, error) {
	broken := add(ctx, o.connection, 1)
	if broken == nil {
		return "same connection", nil
	}
	o.connection.Close(ctx)
	connection, err := pgx.Connect(ctx, o.address)
	if err != nil {
		return "", err
	}
	o.connection = connection
	return "opened again after: " + broken.Error(), add(ctx, connection, 1)
}

type load struct {
	pool         *pgxpool.Pool
	end          chan struct{}
	workers      sync.WaitGroup
	lock         sync.Mutex
	rows, errors int
	stall        time.Duration
	message      string
}

func begin(ctx context.Context, address, table string, workers int) (*load, error) {
	config, err := pgxpool.ParseConfig(address)
	if err != nil {
		return nil, err
	}
	config.MaxConns = int32(workers)
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	l := &load{pool: pool, end: make(chan struct{})}
	query := "INSERT INTO " + table + " VALUES ('pgx', $1, $2) ON CONFLICT DO NOTHING"
	for worker := range workers {
		l.workers.Add(1)
		go l.work(ctx, query, worker)
	}
	return l, nil
}

func (l *load) work(ctx context.Context, query string, worker int) {
	defer l.workers.Done()
	last := time.Now()
	for number := 1; ; number++ {
		select {
		case <-l.end:
			return
		case <-time.After(pause):
		}
		limited, cancel := context.WithTimeout(ctx, time.Minute)
		err := run(limited, l.pool, func(tx pgx.Tx) error {
			_, err := tx.Exec(limited, query, worker, number)
			return err
		})
		cancel()
		l.lock.Lock()
		if err != nil {
			l.errors++
			l.message = err.Error()
		} else {
			l.rows++
			l.stall = max(l.stall, time.Since(last))
			last = time.Now()
		}
		l.lock.Unlock()
	}
}

func (l *load) stop() string {
	close(l.end)
	l.workers.Wait()
	l.pool.Close()
	counting.Lock()
	defer counting.Unlock()
	return fmt.Sprintf("%d %d %d %.2f %s", l.rows, retries[l.pool], l.errors, l.stall.Seconds(), l.message)
}

var openings, loads = map[string]*opened{}, map[string]*load{}

func answer(ctx context.Context, verb string, words []string) (string, error) {
	switch verb {
	case "check":
		return check(ctx, words[1])
	case "open":
		connection, err := pgx.Connect(ctx, words[2])
		if err != nil {
			return "", err
		}
		openings[words[0]] = &opened{words[2], connection}
		return "opened", add(ctx, connection, 1)
	case "close":
		kept := openings[words[0]]
		text, err := kept.use(ctx)
		kept.connection.Close(ctx)
		return text, err
	case "load":
		workers, err := strconv.Atoi(words[4])
		if err != nil {
			return "", err
		}
		loads[words[0]], err = begin(ctx, words[2], words[3], workers)
		return "started", err
	case "stop":
		return loads[words[0]].stop(), nil
	}
	return "", errors.New(verb)
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		words := strings.Split(lines.Text(), "\t")
		ctx, cancel := context.Background(), func() {}
		if words[0] != "load" {
			ctx, cancel = context.WithTimeout(ctx, time.Minute)
		}
		text, err := answer(ctx, words[0], words[1:])
		cancel()
		if err != nil {
			fmt.Println("error\t" + strings.Join(strings.Fields(err.Error()), " "))
		} else {
			fmt.Println("ok\t" + strings.Join(strings.Fields(text), " "))
		}
	}
}
