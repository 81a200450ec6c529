package httpapi_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestLatencyLeadsToATrace looks for a sampled request's trace in api_latency. One that is not sampled
// would lead nowhere.
func TestLatencyLeadsToATrace(t *testing.T) {
	t.Parallel()
	const traceID = "0af7651916cd43dd8448eb211c80319c"
	tests := []struct {
		name, flags string
		want        []string
	}{
		{"sampled", "01", []string{"trace_id=" + traceID}},
		{"not sampled", "00", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newFrontSite(t)
			s.get(t, "/openapi.json", "traceparent", "00-"+traceID+"-b7ad6b7169203331-"+tt.flags)
			families, err := s.registry.Gather()
			require.NoError(t, err)
			var got []string
			for _, family := range families {
				if family.GetName() != "api_latency" {
					continue
				}
				for _, m := range family.GetMetric() {
					for _, bucket := range m.GetHistogram().GetBucket() {
						if e := bucket.GetExemplar(); e != nil {
							got = append(got, e.GetLabel()[0].GetName()+"="+e.GetLabel()[0].GetValue())
						}
					}
				}
			}
			require.Equal(t, tt.want, got)
		})
	}
}
