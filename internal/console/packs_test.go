package console_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPacksAreFilteredAndPaged(t *testing.T) {
	t.Parallel()
	s := newSampleSite(t)
	page := s.get("/console/packs")
	list := elementText(t, page, "packs")
	require.Contains(t, list, "2007-05-08 1 fresh")
	require.Equal(t, 50, strings.Count(list, " fresh "))
	var next string
	for _, link := range page.links() {
		if strings.Contains(link, "cursor=") {
			next = link
		}
	}
	last := strings.Fields(list[strings.LastIndex(list, "2007-"):])[0]
	rest := elementText(t, s.get(next), "packs")
	require.NotContains(t, rest, last)
	require.Equal(t, 50, strings.Count(rest, " fresh "))

	require.Contains(t, s.get("/console/packs?state=error").text(), "No pack is like this")
	days := elementText(t, s.get("/console/packs?from=2007-05-04&to=2007-05-07&state=fresh"), "packs")
	require.Equal(t, 2, strings.Count(days, " fresh "))
	for _, wrong := range []string{"state=old", "from=yesterday", "to=2007-02-30", "cursor=x"} {
		require.Equal(t, http.StatusUnprocessableEntity, s.get("/console/packs?"+wrong).StatusCode, wrong)
	}
}

func TestPackTellsItsStages(t *testing.T) {
	t.Parallel()
	s := newSampleSite(t)
	var id string
	require.NoError(t, s.pool.QueryRow(t.Context(), `SELECT id::text FROM pricing_packs WHERE date = '2007-05-08'`).Scan(&id))
	fresh := s.get("/console/packs/" + id)
	require.Contains(t, fresh.text(), "This pack was fresh from the start")
	require.Contains(t, fresh.text(), "Reconciled: every ledger was valued in two ways that agree not recorded")

	_, err := s.pool.Exec(t.Context(), `UPDATE pricing_packs SET state = 'error', reason = 'portfolio <1> differs', built_at = '2026-01-02 03:04:05+00' WHERE id = $1`, id)
	require.NoError(t, err)
	wrong := s.get("/console/packs/" + id)
	require.Contains(t, wrong.text(), "error Runs over this day are refused until it is built again. Reason portfolio <1> differs")
	require.Contains(t, wrong.text(), "2026-01-02 03:04:05")
	require.Contains(t, wrong.links(), "/console/packs/build?date=2007-05-08")
	require.Contains(t, s.get("/console/packs/build?date=2007-05-08").body, `value="2007-05-08"`)

	built := s.post("/console/packs/build", url.Values{"date": {"2007-05-08"}, "reason": {"the ledger is mended"}})
	require.Equal(t, http.StatusSeeOther, built.StatusCode)
	page := s.get(built.Header.Get("Location"))
	require.Contains(t, page.text(), "The pack of 2007-05-08 is being built.")
	require.Contains(t, elementText(t, page, "pack"), "State warming")
	require.Contains(t, s.api(http.MethodGet, "/v1/audit?action=pricing_pack.build", "", http.StatusOK), "the ledger is mended")
	require.Equal(t, http.StatusNotFound, s.get("/console/packs/nothing").StatusCode)
	require.Equal(t, http.StatusNotFound, s.get("/console/packs/"+strings.Repeat("0", 8)+"-0000-0000-0000-000000000000").StatusCode)
}

func TestBuildMissingPacks(t *testing.T) {
	t.Parallel()
	s := newSampleSite(t)
	none := s.post("/console/packs/build", url.Values{"date": {""}})
	require.Contains(t, s.get(none.Header.Get("Location")).text(), "No pack is missing")
	there := s.post("/console/packs/build", url.Values{"date": {"2007-05-08"}})
	require.Contains(t, s.get(there.Header.Get("Location")).text(), "is there already and is fresh; nothing was built")
	require.NotContains(t, s.api(http.MethodGet, "/v1/audit", "", http.StatusOK), "pricing_pack.build")

	for given, says := range map[string]string{
		"2007-05-06": "2007-05-06 has no close of SBI, the calendar", "06.05.2007": "This is not a date",
	} {
		wrong := s.post("/console/packs/build", url.Values{"date": {given}, "reason": {"because <so>"}})
		require.Equal(t, http.StatusUnprocessableEntity, wrong.StatusCode)
		require.Contains(t, wrong.text(), says)
		require.Contains(t, wrong.body, `value="`+given+`" aria-invalid="true" aria-describedby="date-wrong"`)
		require.Contains(t, wrong.body, `value="because &lt;so&gt;"`)
	}

	_, err := s.pool.Exec(t.Context(), `DELETE FROM pricing_packs WHERE date IN ('2007-05-04', '2007-05-07')`)
	require.NoError(t, err)
	made := s.post("/console/packs/build", url.Values{"date": {""}, "reason": {"they are missing"}})
	page := s.get(made.Header.Get("Location"))
	require.Contains(t, page.text(), "2 packs of 2007-05-04 to 2007-05-07 being built.")
	require.Equal(t, 2, strings.Count(elementText(t, page, "packs"), " warming "))
}

// The form promises what it does: a pack in error is built again when its day is given, and only then, as the
// API has it.
func TestBuildingMissingPacksLeavesThoseInError(t *testing.T) {
	t.Parallel()
	s := newSampleSite(t)
	_, err := s.pool.Exec(t.Context(), `UPDATE pricing_packs SET state = 'error', reason = 'differs by 2 CHF' WHERE date = '2007-05-08'`)
	require.NoError(t, err)
	require.Contains(t, s.get("/console/packs/build").text(),
		"Days with a close and without a pack get one. A pack in error gets another try when its day is given; without a day it stays as it is.")
	none := s.get(s.post("/console/packs/build", url.Values{"date": {""}}).Header.Get("Location"))
	require.Contains(t, none.text(), "Nothing was built; packs in error are built again by their days.")
	require.Contains(t, elementText(t, none, "packs"), "2007-05-08 1 error")
	one := s.get(s.post("/console/packs/build", url.Values{"date": {"2007-05-08"}}).Header.Get("Location"))
	require.Contains(t, elementText(t, one, "pack"), "State warming")
}

func TestPacksOfNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	require.Contains(t, s.get("/console/packs").text(), "There are no pricing packs yet")
	wrong := s.post("/console/packs/build", url.Values{"date": {"2007-05-06"}})
	require.Equal(t, http.StatusUnprocessableEntity, wrong.StatusCode)
	require.Contains(t, wrong.text(), "import prices first")
}
