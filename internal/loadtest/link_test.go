package loadtest

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAbortedConnection: a client that resets its connection while bytes are under way to it has the connection
// at the other end of the link ended too. It is also what shows TestMain's exceptions to be the right ones:
// toxiproxy leaves goroutines of nearly every such connection.
func TestAbortedConnection(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	l, err := newLink("aborted", listener.Addr().String())
	require.NoError(t, err)
	defer l.close()
	for range 10 {
		client, err := net.Dial("tcp", l.Addr())
		require.NoError(t, err)
		server, err := listener.Accept()
		require.NoError(t, err)
		ended := make(chan error, 1)
		go func() {
			for bytes := make([]byte, 100_000); ; {
				if _, err := server.Write(bytes); err != nil {
					ended <- err
					return
				}
			}
		}()
		_, err = client.Read(make([]byte, 100))
		require.NoError(t, err)
		require.NoError(t, client.(*net.TCPConn).SetLinger(0)) // Close is a reset now
		require.NoError(t, client.Close())
		require.Error(t, <-ended)
		require.NoError(t, server.Close())
	}
}
