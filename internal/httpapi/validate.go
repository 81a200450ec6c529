package httpapi

import (
	"github.com/labstack/echo/v4"

	"github.com/dawsos/dawsos/internal/patterns"
	"github.com/dawsos/dawsos/pkg/api"
)

// mostFindings is how many problems of one definition are told; the document says so too. A text of
// nothing but mistakes would be answered with many times its size.
const mostFindings = 500

// ValidatePattern checks a definition. Its text is taken as it was sent, since places in it are
// told, and since what is wrong with its syntax is an answer like all else that is wrong.
func (b *byHand) ValidatePattern(c echo.Context) error {
	sent, _ := c.Request().Body.(rawBody)
	answer := api.ValidatePattern200JSONResponse{Valid: true, Problems: []api.Finding{}}
	for _, p := range b.h.Validator.Validate(sent.text) {
		severity := api.FindingSeverityError
		if p.Severity == patterns.Warning {
			severity = api.FindingSeverityWarning
		} else {
			answer.Valid = false
		}
		if len(answer.Problems) == mostFindings {
			answer.More = new(value(answer.More) + 1)
			continue
		}
		answer.Problems = append(answer.Problems, api.Finding{
			Severity: severity, Line: orNull(p.Line), Column: orNull(p.Column), Pointer: p.Pointer,
			Step: orNull(p.Step), Message: p.Msg, Suggestion: orNull(p.Suggestion),
		})
	}
	return answer.VisitValidatePatternResponse(c.Response())
}
