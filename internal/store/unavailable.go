package store

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/dawsos/dawsos/internal/store/roles"
)

// Unavailable reports whether err says that the database is away, refuses connections or has no room, rather
// than that something is wrong with what it was asked. Such a failure passes; whether the
// statement had an effect is not known.
func Unavailable(err error) bool {
	if _, refused := errors.AsType[*roles.RefusedError](err); refused { // an administrator has to do something
		return true
	}
	_, connecting := errors.AsType[*pgconn.ConnectError](err)
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch {
		case connecting && pg.Code == "55000": // the database takes no connections, for the time being
			return true
		case strings.HasPrefix(pg.Code, "08"), // connection exceptions
			strings.HasPrefix(pg.Code, "57P"), // shutting down, starting up, crashed
			pg.Code == "53100",                // no room on its disk
			pg.Code == "53200",                // no memory
			pg.Code == "53300":                // too many connections
			return true
		}
		return false
	}
	if connecting {
		return true
	}
	if _, ok := errors.AsType[net.Error](err); ok && !isContextEnd(err) {
		return true
	}
	// A connection of the pool whose end was noticed before anything was sent over it; pgx has no name for that.
	if pgconn.SafeToRetry(err) && !isContextEnd(err) {
		return true
	}
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed)
}

// cutShort reports whether err says that a connection to the database ended while it was at work. Another one
// may work at once, and shows whether the statement had an effect.
func cutShort(err error) bool {
	if _, connecting := errors.AsType[*pgconn.ConnectError](err); connecting {
		return false
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && strings.HasPrefix(pg.Code, "53") { // no room for it
		return false
	}
	return Unavailable(err)
}

// isContextEnd tells a caller's own end of time, which is a net.Error too, from the network's.
func isContextEnd(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}
