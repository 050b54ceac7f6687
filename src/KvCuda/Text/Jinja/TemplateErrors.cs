namespace KvCuda.Text.Jinja;

/// <summary>Errors of one template, each naming the template and the line.</summary>
sealed class TemplateErrors(string template)
{
    /// <summary>The template cannot be read.</summary>
    public ModelFormatException Syntax(int line, string what) => new($"{template}, line {line}: {what}.");

    /// <summary>The template uses something that is not implemented.</summary>
    public UnsupportedModelException Unsupported(int line, string what) =>
        new($"{template}, line {line}: {what} is not supported.");

    /// <summary>The template cannot be rendered with what it was given.</summary>
    public InvalidRequestException Render(int line, string what) => new($"{template}, line {line}: {what}");
}

/// <summary>Something went wrong while rendering; whoever knows the line turns it into an error that says so.</summary>
sealed class RenderException(string message) : Exception(message);

/// <summary>Something is not implemented; whoever knows the line turns it into an error that says so.</summary>
sealed class UnsupportedException(string message) : Exception(message);
