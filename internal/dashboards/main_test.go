package dashboards_test

import (
	"testing"

	"github.com/dawsos/dawsos/internal/dbtest"
)

func TestMain(m *testing.M) { dbtest.Main(m) }
