// Package job reads jobs as fio describes them: files of sections and options, and the same options
// on a command line.
//
//	jobs, err := job.Parse(job.Source{Name: "a.fio", Text: text}, job.Env{Lookup: os.LookupEnv})
//
// A file has sections of "option=value" lines. What [global] holds goes for the sections after it;
// every other section is a job, and its name the job's. Lines that begin with ; or # are comments,
// ${NAME} is a variable of the environment. Sizes take k, m, g, t (powers of 1024) or are bytes;
// times take us, ms, s, m, h, d, and without one are in the unit that fio gives the option.
//
// Promise: nothing is ignored. An option or a value that is not understood is an error, of class
// ErrInvalid, that names file, line, option and what to write; an option that fio has and this
// package has not is one too, and says so. What depends on the target, such as a size of 50%, is
// left to who opens it.
//
// Limits: a file of 1 MiB, 1024 sections, 1024 clones of a job.
//
// The package is pure: it opens nothing and knows no clock.
package job
